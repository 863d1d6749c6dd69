import type { Json, Method, OpenApi, Operation } from './openapi-parts.ts'

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

const escape = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? character)

/** Text as it stands in the description: what is between backticks is code. */
const prose = (text: string): string => escape(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>')

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)
const objects = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : [])

const STYLE = `
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1.5rem 4rem; font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de } code, .path { font-family: ui-monospace, monospace; font-size: .92em }
section.call { margin: 1.2rem 0; padding: .2rem 1rem .8rem; border: 1px solid #d0d7de; border-radius: .4rem } .method { font-weight: 700; text-transform: uppercase }
ul.fields { padding-left: 1.2rem } table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top }
.type { color: #57606a } .needed { color: #b35900 } summary { cursor: pointer } nav ul { columns: 18rem; padding-left: 1.2rem }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 } a { color: #6cb6ff } section.call, h2 { border-color: #30363d } .type { color: #9198a1 } .needed { color: #e3934d } }
`

const range = (least: unknown, most: unknown, unit = ''): string => {
  if (least === undefined) return most === undefined ? '' : `, at most ${String(most)}${unit}`
  return most === undefined ? `, at least ${String(least)}${unit}` : `, ${String(least)} to ${String(most)}${unit}`
}

const bounds = ({ minimum, maximum, minItems, maxItems, minLength, maxLength }: Json): string =>
  range(minimum, maximum) + range(minItems, maxItems, ' items') + range(minLength, maxLength, ' characters')

/** A schema's kind in a few words. */
const kind = (schema: Json, resolve: (schema: Json) => Json): string => {
  const known = resolve(schema)
  const branches = [...objects(known['anyOf']), ...objects(known['oneOf'])]
  if ('const' in known) return JSON.stringify(known['const'])
  if (Array.isArray(known['enum'])) return known['enum'].map((one) => JSON.stringify(one)).join(' or ')
  if (branches.length > 0) return [...new Set(branches.map((branch) => kind(branch, resolve)))].join(' or ')
  if (known['type'] === 'array') return `list of ${isObject(known['items']) ? kind(known['items'], resolve) : 'anything'}${bounds(known)}`
  const type = Array.isArray(known['type']) ? known['type'].join(' or ') : known['type']
  return `${typeof type === 'string' ? type : 'anything'}${bounds(known)}`
}

/** The fields of a schema, and of what is in them. */
const fields = (schema: Json, resolve: (schema: Json) => Json): string => {
  const known = resolve(schema)
  const needed = new Set(Array.isArray(known['required']) ? known['required'] : [])
  const own = Object.entries(isObject(known['properties']) ? known['properties'] : {}).map(([name, value]) => {
    const field = isObject(value) ? resolve(value) : {}
    const said = typeof field['description'] === 'string' ? ` – ${prose(field['description'])}` : ''
    const head = `<code>${escape(name)}</code> <span class="type">${escape(kind(field, resolve))}</span>${needed.has(name) ? ' <span class="needed">required</span>' : ''}${said}`
    const inner = fields(field, resolve)
    return `<li>${inner ? `<details><summary>${head}</summary>${inner}</details>` : head}</li>`
  })
  const deeper = [...(isObject(known['items']) ? [known['items']] : []), ...objects(known['anyOf']), ...objects(known['oneOf'])].map((each) => fields(each, resolve))
  return (own.length > 0 ? `<ul class="fields">${own.join('')}</ul>` : '') + deeper.join('')
}

const schemaOf = (content: unknown): [type: string, schema: Json][] =>
  Object.entries(isObject(content) ? content : {}).map(([type, media]) => [type, isObject(media) && isObject(media['schema']) ? media['schema'] : {}])

const call = (method: string, path: string, { operationId, summary, description, requestBody, responses }: Operation, resolve: (schema: Json) => Json): string => {
  const asked = schemaOf(requestBody?.content).map(([, schema]) => {
    const said = resolve(schema)['description']
    return `<h4>Request</h4>${typeof said === 'string' ? `<p>${prose(said)}</p>` : ''}${fields(schema, resolve)}`
  })
  const rows = Object.entries(responses).map(([status, { description: why, content }]) => {
    const types = schemaOf(content).map(([type, schema]) => {
      const inner = status === '200' ? fields(schema, resolve) : ''
      return inner ? `<details><summary><code>${escape(type)}</code></summary>${inner}</details>` : `<code>${escape(type)}</code>`
    })
    return `<tr><th>${escape(status)}</th><td>${prose(String(why))} ${types.join(' ')}</td></tr>`
  })
  return (
    `<section class="call" id="${escape(operationId)}"><h3><span class="method">${method}</span> <span class="path">${escape(path)}</span></h3><p>${prose(summary)}. ${description ? prose(description) : ''}</p>` +
    `${asked.join('')}<h4>Answers</h4><table>${rows.join('')}</table></section>`
  )
}

/** The description as a page for people: one file without scripts, and nothing that is fetched from elsewhere. */
export const referencePage = ({ info, tags, paths, components }: OpenApi): string => {
  const resolve = (schema: Json): Json => {
    const { $ref: target, ...own } = schema
    return typeof target === 'string' ? { ...components.schemas[target.slice(target.lastIndexOf('/') + 1)], ...own } : schema
  }
  const calls = Object.entries(paths).flatMap(([path, methods]) => (Object.entries(methods) as [Method, Operation][]).map(([method, operation]) => ({ path, method, operation })))
  const groups = tags.map(({ name, description }) => ({ name, description, calls: calls.filter(({ operation }) => operation.tags.includes(name)) }))
  const link = ({ path, method, operation }: (typeof calls)[number]) => `<li><a href="#${escape(operation.operationId)}"><span class="method">${method}</span> <span class="path">${escape(path)}</span></a></li>`
  const title = `${String(info['title'])} ${String(info['version'])}`
  return (
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${escape(title)}</title><style>${STYLE}</style></head><body>` +
    `<h1>${escape(title)}</h1><p>${prose(String(info['description']))}</p><p>As <a href="openapi.json">OpenAPI</a>.</p>` +
    `<nav>${groups.map((group) => `<h4>${escape(group.name)}</h4><ul>${group.calls.map(link).join('')}</ul>`).join('')}</nav>` +
    `<h2>Headers of answers</h2><table>${Object.entries(components.headers).map(([name, { description }]) => `<tr><th><code>${escape(name)}</code></th><td>${prose(String(description))}</td></tr>`).join('')}</table>` +
    groups.map((group) => `<h2>${escape(group.name)}</h2><p>${prose(group.description)}</p>${group.calls.map(({ path, method, operation }) => call(method, path, operation, resolve)).join('')}`).join('') +
    '</body></html>\n'
  )
}
