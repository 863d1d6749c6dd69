// An S3 server as a process: `s3-main.ts FOLDER PORT BUCKET`. Its one pair of keys is S3RVER and S3RVER.
import S3rver from '@20minutes/s3rver'

const [directory = '', port = '', bucket = ''] = process.argv.slice(2)
await new S3rver({ directory, port: Number(port), address: '127.0.0.1', silent: true, configureBuckets: [{ name: bucket }] }).run()
