/** BullMQ's Lua scripts as it ships them; the package declares types for the other build of the same files only. */
interface BullmqScript {
  name: string
  content: string
  keys: number
}

declare module 'bullmq/dist/cjs/scripts/addPrioritizedJob-9.js' {
  export const addPrioritizedJob: BullmqScript
}
declare module 'bullmq/dist/cjs/scripts/moveToActive-11.js' {
  export const moveToActive: BullmqScript
}
declare module 'bullmq/dist/cjs/scripts/moveToFinished-14.js' {
  export const moveToFinished: BullmqScript
}
