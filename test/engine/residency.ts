import type { Model, Settings } from './options.ts'
import type { Stats } from './stats.ts'

/** A request that wants a slot of a model. */
export interface Waiter {
  /** Its client has left; it is passed over. */
  gone: boolean
  /** It has a slot now; `loadMs` is how long it waited for the model to load. */
  granted(loadMs: number): void
  /** Load-time options that it asks for, as text; another text than the loaded one means another load. */
  options?: string
  /** Too many wait for a load already. */
  refused(): void
}

interface Resident {
  model: Model
  state: 'out' | 'loading' | 'in'
  running: number
  waiting: Waiter[]
  expiresAt: number
  timer: NodeJS.Timeout | undefined
  /** The load-time options that it was loaded with. */
  options: string
}

const KEEP_MS = 300_000
const FOREVER = Date.UTC(2318, 0, 1)

/**
 * Which models are in memory, and who has their slots: as Ollama does it. Loads are one at a time and block what stands behind
 * them; a request for a loaded model waits for a slot without bound and without a word.
 */
export class Residency {
  readonly #settings: Settings
  readonly #stats: Stats
  readonly #residents = new Map<string, Resident>()
  #pending: { resident: Resident; waiter: Waiter; since: number }[] = []
  #loading = false

  constructor(settings: Settings, stats: Stats) {
    this.#settings = settings
    this.#stats = stats
    this.setModels(settings.models)
  }

  setModels(models: Model[]) {
    const names = new Set(models.map(({ name }) => name))
    for (const [name, { timer }] of this.#residents) {
      if (names.has(name)) continue
      clearTimeout(timer)
      this.#residents.delete(name)
      this.#stats.model(name).loaded = false
    }
    for (const model of models) {
      const resident = this.#residents.get(model.name)
      if (resident) resident.model = model
      else this.#residents.set(model.name, { model, state: 'out', running: 0, waiting: [], expiresAt: 0, timer: undefined, options: '' })
      this.#stats.model(model.name)
    }
  }

  get models(): Model[] {
    return [...this.#residents.values()].map(({ model }) => model)
  }

  /** In memory, longest remaining first. */
  get loaded(): { model: Model; expiresAt: number }[] {
    return [...this.#residents.values()].filter(({ state }) => state === 'in').toSorted((a, b) => b.expiresAt - a.expiresAt)
  }

  find(name: string): Model | undefined {
    const wanted = name.toLowerCase()
    for (const { model } of this.#residents.values()) {
      const held = model.name.toLowerCase()
      if (held === wanted || held === `${wanted}:latest`) return model
    }
    return undefined
  }

  acquire(name: string, waiter: Waiter) {
    const resident = this.#of(name)
    if (!resident) waiter.refused()
    else if (resident.state === 'in' && resident.options === (waiter.options ?? '')) this.#admit(resident, waiter, 0)
    else if (this.#pending.length >= this.#settings.maxQueue) waiter.refused()
    else {
      this.#pending.push({ resident, waiter, since: performance.now() })
      this.#stats.model(name).waiting++
      this.#pump()
    }
  }

  /** The client of a waiting request has left. llama-server goes on counting it until a slot frees; Ollama forgets it at once. */
  leave(name: string, waiter: Waiter) {
    waiter.gone = true
    const resident = this.#of(name)
    const stats = this.#stats.model(name)
    const place = resident?.waiting.indexOf(waiter) ?? -1
    if (place >= 0 && this.#settings.kind === 'ollama') {
      resident?.waiting.splice(place, 1)
      stats.waiting--
    }
    const before = this.#pending.length
    this.#pending = this.#pending.filter((each) => each.waiter !== waiter)
    stats.waiting -= before - this.#pending.length
  }

  /** Gives a slot back. `keepMs`: as the request's `keep_alive` said; negative: for ever. */
  release(name: string, keepMs = KEEP_MS) {
    const resident = this.#of(name)
    if (!resident) return
    resident.running--
    this.#next(resident)
    if (resident.running === 0) this.#expire(resident, keepMs)
    this.#pump()
  }

  /** Loads a model without a request, at a llama-server's start. */
  preload(name: string) {
    const waiter = { gone: false, granted: () => this.release(name, -1), refused: () => {} }
    this.acquire(name, waiter)
  }

  unload(name: string) {
    const resident = this.#of(name)
    if (resident && resident.state === 'in' && resident.running === 0) this.#drop(resident)
    this.#pump()
  }

  isLoaded(name: string): boolean {
    return this.#of(name)?.state === 'in'
  }

  close() {
    for (const { timer } of this.#residents.values()) clearTimeout(timer)
  }

  #of(name: string) {
    return this.#residents.get(name)
  }

  #admit(resident: Resident, waiter: Waiter, loadMs: number) {
    if (resident.running < resident.model.slots) {
      clearTimeout(resident.timer)
      resident.running++
      waiter.granted(loadMs)
    } else {
      resident.waiting.push(waiter)
      this.#stats.model(resident.model.name).waiting++
    }
  }

  #next(resident: Resident) {
    while (resident.running < resident.model.slots) {
      const waiter = resident.waiting.shift()
      if (!waiter) return
      this.#stats.model(resident.model.name).waiting--
      if (!waiter.gone) this.#admit(resident, waiter, 0)
    }
  }

  #expire(resident: Resident, keepMs: number) {
    clearTimeout(resident.timer)
    if (keepMs === 0 && resident.waiting.length === 0) return this.#drop(resident)
    resident.expiresAt = keepMs < 0 ? FOREVER : Date.now() + keepMs
    if (keepMs < 0) return
    resident.timer = setTimeout(() => this.unload(resident.model.name), Math.min(keepMs, 2 ** 31 - 1))
    resident.timer.unref()
  }

  #drop(resident: Resident) {
    clearTimeout(resident.timer)
    resident.state = 'out'
    this.#stats.model(resident.model.name).loaded = false
  }

  /** Serves the head of those who wait for a load. Whoever is behind a load waits for it, too. */
  #pump() {
    while (!this.#loading) {
      const head = this.#pending[0]
      if (!head) return
      const { resident, waiter, since } = head
      const options = waiter.options ?? ''
      if (resident.state === 'in' && resident.options !== options) {
        // Running requests end first; whoever is behind waits for that, too.
        if (resident.running > 0) return
        this.#drop(resident)
      }
      if (resident.state === 'in') {
        this.#pending.shift()
        this.#stats.model(resident.model.name).waiting--
        this.#admit(resident, waiter, performance.now() - since)
        continue
      }
      const inMemory = [...this.#residents.values()].filter(({ state }) => state === 'in')
      let delay = resident.model.loadMs
      if (inMemory.length >= this.#settings.maxLoaded) {
        const [idle] = inMemory.filter((each) => each.running === 0).toSorted((a, b) => a.expiresAt - b.expiresAt)
        if (!idle) return
        this.#drop(idle)
        this.#stats.model(idle.model.name).evictions++
        delay += this.#settings.swapMs
      }
      this.#loading = true
      resident.state = 'loading'
      resident.options = options
      const done = () => {
        this.#loading = false
        resident.state = 'in'
        resident.expiresAt = Date.now() + KEEP_MS
        const stats = this.#stats.model(resident.model.name)
        stats.loads++
        stats.loaded = true
        // Whoever waits for it may say otherwise.
        this.#expire(resident, KEEP_MS)
        this.#pump()
      }
      if (delay === 0) done()
      else setTimeout(done, delay)
    }
  }
}
