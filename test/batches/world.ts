import { test as world } from '../support/world.ts'
import { startS3 } from '../support/s3-server.ts'
import { bucketPlace, folderPlace, type PlaceKind } from './places.ts'

/** With a place for files in each test: a folder beside Redis' own data. */
export const test = world.extend('place', ({ redis }) => folderPlace(redis.dir))

/** An S3 server for each file that asks for one. */
const withS3 = world.extend('s3', { scope: 'file' }, async ({ redis }, { onCleanup }) => {
  const s3 = await startS3(redis.dir)
  onCleanup(() => s3.stop())
  return s3
})

/** The same with a prefix of its own in a bucket. */
export const s3Test = withS3.extend('place', ({ s3 }) => bucketPlace(s3))

export const testIn = (kind: PlaceKind): typeof test => (kind === 'folder' ? test : (s3Test as unknown as typeof test))
