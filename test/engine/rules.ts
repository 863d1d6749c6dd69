import { meet, type Rule, type Script } from './script.ts'

const PROMPTS = 20_000

/** What requests are to meet. Later ones win: engine's default, rule for all, the prompt's own fields, rule for its key. */
export class Rules {
  readonly #base: Script
  #all: Rule | undefined
  readonly #keys = new Map<string, Rule>()
  readonly #prompts = new Map<string, number>()

  constructor(base: Script) {
    this.#base = base
  }

  /** `undefined` as script takes the rule away. */
  set(script: Script | undefined, key?: string) {
    if (key === undefined) this.#all = script && { script, met: 0 }
    else if (script) this.#keys.set(key, { script, met: 0 })
    else this.#keys.delete(key)
  }

  clear() {
    this.#all = undefined
    this.#keys.clear()
    this.#prompts.clear()
  }

  /** Takes holds and stalls out of the rules, so that what comes after a release runs through. */
  release(key?: string) {
    const rules = key === undefined ? [this.#all, ...this.#keys.values()] : [this.#keys.get(key)]
    for (const rule of rules) {
      if (!rule) continue
      const { hold: _hold, stall_at: _stall, ...script } = rule.script
      rule.script = script
    }
  }

  resolve(key: string, prompt: Script): Script {
    const own = this.#keys.get(key)
    return { ...this.#base, ...(this.#all && meet(this.#all)), ...this.#ofPrompt(key, prompt), ...(own && meet(own)) }
  }

  #ofPrompt(key: string, script: Script): Script {
    if (script.times === undefined) return script
    const rule = { script, met: this.#prompts.get(key) ?? 0 }
    if (this.#prompts.size >= PROMPTS) this.#prompts.clear()
    this.#prompts.set(key, rule.met + 1)
    return meet(rule)
  }
}
