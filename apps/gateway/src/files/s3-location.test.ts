import { expect, test } from 'vitest'
import { s3Endpoint, s3Location } from './s3-location.ts'

test.for([
  ['s3://drover', { bucket: 'drover', prefix: '' }],
  ['s3://drover/', { bucket: 'drover', prefix: '' }],
  ['s3://my.bucket-1/files', { bucket: 'my.bucket-1', prefix: 'files/' }],
  ['s3://drover/one/two/', { bucket: 'drover', prefix: 'one/two/' }],
] as const)('%s names a bucket and a prefix', ([text, location]) => {
  expect(s3Location().parse(text)).toEqual(location)
})

test.for(['', 'drover', 'https://drover', 's3://', 's3:///files', 's3://d', 's3://drover//files', 's3://drover/../other', 's3://drover/a b', 's3://key:secret@drover'])('%j is no place for files', (text) => {
  expect(s3Location().safeParse(text).success).toBe(false)
})

test('an endpoint is a URL of a server, without a password', () => {
  for (const text of ['http://127.0.0.1:9000', 'https://s3.example.org', 'https://s3.example.org/base']) expect(s3Endpoint().safeParse(text).success).toBe(true)
  for (const text of ['127.0.0.1:9000', 'ftp://host', 'http://user:password@host', 'http://host?x=1']) expect(s3Endpoint().safeParse(text).success).toBe(false)
})
