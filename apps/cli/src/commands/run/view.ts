import { dim } from '../output.ts'
import type { AnswerView } from './answer.ts'

export interface ViewOptions {
  /** Events as they come, instead of text. */
  raw: boolean
  hideThinking: boolean
}

/** Shows an answer: its text on standard output, what the model thinks before it dimmed on standard error. */
export const terminalView = ({ raw, hideThinking }: ViewOptions): AnswerView & { end(): void } => {
  let lastText = ''
  let lastThought = ''
  return {
    line: (line) => void (raw && process.stdout.write(`${line}\n`)),
    text(piece) {
      if (raw) return
      if (lastThought !== '') process.stderr.write(lastThought.endsWith('\n') ? '\n' : '\n\n')
      lastThought = ''
      lastText = piece
      process.stdout.write(piece)
    },
    thinking(piece) {
      if (raw || hideThinking) return
      lastThought = piece
      process.stderr.write(dim(piece, process.stderr))
    },
    /** However the answer ended: what is printed next begins on a line of its own. */
    end() {
      if (lastThought !== '') process.stderr.write('\n')
      if (lastText !== '' && !lastText.endsWith('\n')) process.stdout.write('\n')
      lastText = lastThought = ''
    },
  }
}
