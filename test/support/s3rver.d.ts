/** As much of it as is used; it brings no types of its own. */
declare module '@20minutes/s3rver' {
  export default class S3rver {
    constructor(options: { directory: string; port: number; address: string; silent: boolean; configureBuckets: { name: string }[] })
    run(): Promise<{ address: string; port: number }>
  }
}
