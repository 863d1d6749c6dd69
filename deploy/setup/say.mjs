/** One line about the set-up, apart from the output of what it sets up. */
export const say = (line) => process.stderr.write(`drover: ${line}\n`)

/** An end that was to be expected: its message is all that is to be said. */
export class SetupError extends Error {}

/** Says what takes its time, and how long it took. */
export const step = async (what, work) => {
  say(`${what}…`)
  const started = Date.now()
  const result = await work()
  say(`${what}: done in ${Math.max(1, Math.round((Date.now() - started) / 1000))} s`)
  return result
}
