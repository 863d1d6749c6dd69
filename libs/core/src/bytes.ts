/** `5.1 GB`, for people. */
export const inGigabytes = (bytes: number): string =>
  bytes >= 1e8 ? `${(bytes / 1e9).toFixed(bytes >= 1e11 ? 0 : 1)} GB` : `${Math.ceil(bytes / 1e6)} MB`
