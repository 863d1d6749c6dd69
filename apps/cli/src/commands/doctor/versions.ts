/** The numbers of a version such as `7.0.15`, `v24.1.0` or `0.33.0-rc2`; `undefined` for a text without any. */
export const readVersion = (text: string): number[] | undefined => {
  const [, numbers] = /^v?(\d+(?:\.\d+)*)/.exec(text.trim()) ?? []
  return numbers?.split('.').map(Number)
}

/** Negative when `a` is older than `b`. A number that is left out is 0. */
export const compareVersions = (a: readonly number[], b: readonly number[]): number => {
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** Whether a version is older than a limit; never, for one that cannot be read. */
export const olderThan = (version: string, limit: string): boolean => {
  const [a, b] = [readVersion(version), readVersion(limit)]
  return a !== undefined && b !== undefined && compareVersions(a, b) < 0
}
