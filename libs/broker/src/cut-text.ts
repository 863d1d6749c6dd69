import { FRAME_BYTES, type Frame } from '@drover/core'

/** Longer text goes in pieces whatever it is, characters. */
const WHOLE_CHARS = 4 * FRAME_BYTES

/** Behind the last event that ends within the first `most` characters; `undefined`: none does. A blank line ends a server-sent event, a line end any other. */
const lastEnd = (text: string, most: number): number | undefined => {
  const end = text.includes('\n\n') ? '\n\n' : '\n'
  const at = text.lastIndexOf(end, most - end.length)
  return at < 0 ? undefined : at + end.length
}

const withinCharacter = (text: string, at: number): boolean => (text.codePointAt(at - 1) ?? 0) > 0xffff

/** At most `most` characters, never half of one. */
const hardly = (text: string, most: number): number => (text.length <= most ? text.length : withinCharacter(text, most) ? most - 1 : most)

/**
 * How much of a text of whole events is stored at once, `most` characters where that is possible: up to the end of an event, for an answer
 * can be taken up only where its log ends between two. An event that is longer goes whole.
 */
export const cutAt = (text: string, most: number): number =>
  text.length <= most ? text.length : (lastEnd(text, most) ?? lastEnd(text, WHOLE_CHARS) ?? hardly(text, WHOLE_CHARS))

/** Text as frames of at most `FRAME_BYTES`, between events where that is possible; the first with what `frame` says. */
export const toFrames = (text: string, frame: Frame): Frame[] => {
  if (text.length <= FRAME_BYTES) return text === '' && Object.keys(frame).length > 0 ? [frame] : [{ ...frame, text }]
  const frames: Frame[] = []
  for (let from = 0; from < text.length; ) {
    const rest = text.slice(from, from + FRAME_BYTES + 1)
    const to = from + (rest.length <= FRAME_BYTES ? rest.length : (lastEnd(rest, FRAME_BYTES) ?? hardly(rest, FRAME_BYTES)))
    frames.push({ ...(from === 0 && frame), text: text.slice(from, to) })
    from = to
  }
  return frames
}
