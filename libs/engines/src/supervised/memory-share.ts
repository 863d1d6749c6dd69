/** Memory that is shared with others: what one of them has, the others cannot have. */
export interface MemoryShare {
  /** Bytes that may be used when nobody else uses any. */
  readonly most: number
  /** Bytes that may be used now. */
  now(): number
  /** How many are used, or are about to be. */
  use(bytes: number): void
  /** Somebody waits for memory that others have. */
  short?(): void
}
