/** Names under which a secret, or a client's text, may stand in an object. Matched whole, in any case, dashes and underscores aside. */
export const SECRET_NAMES = ['apiKey', 'api_key', 'password', 'secret', 'token', 'authorization', 'cookie', 'x-api-key']

/** What stands where a secret was. */
export const MASK = '***'

const plain = (name: string): string => name.toLowerCase().replaceAll(/[-_]/g, '')
const secret = new Set(SECRET_NAMES.map(plain))

/** A text without the passwords of the URLs in it. */
export const maskUrls = (text: string): string => text.replaceAll(/(\/\/[^\s/@:]*:)[^\s/]*@/g, `$1${MASK}@`)

/** A copy without secrets: values under a secret's name, and passwords in URLs. */
export const masked = (value: unknown): unknown => {
  if (typeof value === 'string') return maskUrls(value)
  if (Array.isArray(value)) return value.map(masked)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, secret.has(plain(name)) && inner ? MASK : masked(inner)]))
}
