import { expect, test } from 'vitest'
import { S3Failure } from './s3-failure.ts'

const answered = (name: string, message: string, httpStatusCode: number, rest: object = {}) => Object.assign(new Error(message), { name, $metadata: { httpStatusCode }, ...rest })
const network = (code: string, message = '') => Object.assign(new Error(message), { code })

test.for([
  ['no such object', answered('NoSuchKey', 'The specified key does not exist.', 404), { missing: true, refused: true }, 'NoSuchKey: The specified key does not exist. (HTTP 404)'],
  ['a 404 without a word', answered('Unknown', 'UnknownError', 404), { missing: true, refused: true }, '(HTTP 404)'],
  ['no bucket', answered('NoSuchBucket', 'The specified bucket does not exist', 404), { missing: false, refused: true }, 'NoSuchBucket: The specified bucket does not exist (HTTP 404)'],
  ['a range behind the end', answered('InvalidRange', 'The requested range is not satisfiable', 416), { missing: true, refused: true }, 'InvalidRange: The requested range is not satisfiable (HTTP 416)'],
  ['no right', answered('AccessDenied', 'Access Denied', 403), { missing: false, refused: true }, 'AccessDenied: Access Denied (HTTP 403)'],
  ['another region', answered('PermanentRedirect', 'Moved', 301), { missing: false, refused: true }, 'PermanentRedirect: Moved (HTTP 301)'],
  ['too many requests', answered('SlowDown', 'Please reduce your request rate.', 503), { missing: false, refused: false }, 'SlowDown: Please reduce your request rate. (HTTP 503)'],
  ['too many, by another status', answered('TooManyRequests', 'Later', 429), { missing: false, refused: false }, 'TooManyRequests: Later (HTTP 429)'],
  ['nobody there', network('ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:1'), { missing: false, refused: false }, 'ECONNREFUSED: connect ECONNREFUSED 127.0.0.1:1'],
  ['nobody at any of its addresses', Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }), { missing: false, refused: false }, 'ECONNREFUSED'],
  ['no credentials', Object.assign(new Error('Could not load credentials from any providers'), { name: 'CredentialsProviderError' }), { missing: false, refused: true }, 'CredentialsProviderError: Could not load credentials from any providers'],
  ['no region', new Error('Region is missing'), { missing: false, refused: true }, 'Region is missing'],
] as const)('of %s it is known what can be done about it', ([, thrown, kind, message]) => {
  const failure = new S3Failure(thrown)
  expect({ missing: failure.missing, refused: failure.refused }).toEqual(kind)
  expect(failure.message).toBe(message)
})

test('what a store repeats of a request is not kept', () => {
  const failure = new S3Failure(answered('SignatureDoesNotMatch', 'The request signature we calculated does not match.', 403, { CanonicalRequest: 'x-amz-security-token:SECRET', StringToSign: 'SECRET' }))
  expect(JSON.stringify({ ...failure, message: failure.message, stack: failure.stack, cause: failure.cause })).not.toContain('SECRET')
})
