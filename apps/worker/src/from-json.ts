import { z } from 'zod'

/** JSON text as what it says; whatever else it was given, as it is. */
export const fromJson = (value: unknown, context: z.RefinementCtx): unknown => {
  if (typeof value !== 'string') return value
  try {
    return JSON.parse(value)
  } catch {
    context.addIssue({ code: 'custom', message: 'not valid JSON' })
    return z.NEVER
  }
}
