import { z } from 'zod'

/** A bucket, and what the names of objects in it begin with: empty, or ending with a slash. */
export interface S3Location {
  bucket: string
  prefix: string
}

const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/
const FOLDER = /^(?!\.\.?$)[\w.!'()*-]{1,200}$/

/** `s3://bucket` or `s3://bucket/and/more`. */
export const s3Location = () =>
  z.string().transform((text, context): S3Location => {
    const [, bucket = '', rest = ''] = /^s3:\/\/([^/]+)((?:\/[^/]+)*)\/?$/.exec(text) ?? []
    const folders = rest.split('/').slice(1)
    if (BUCKET.test(bucket) && folders.every((each) => FOLDER.test(each)) && rest.length <= 512) return { bucket, prefix: folders.map((each) => `${each}/`).join('') }
    context.addIssue({ code: 'custom', message: 'expected s3://BUCKET or s3://BUCKET/PREFIX' })
    return z.NEVER
  })

/** Where a store that is not AWS' own is reached. */
export const s3Endpoint = () =>
  z.string().refine((text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined
    return url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && url.search === '' && url.hash === ''
  }, 'expected http://host:port or https://host')
