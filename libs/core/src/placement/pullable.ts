import { z } from 'zod'
import { canonicalName } from '../names.ts'

/** Names of models as the list of what may be brought has them: `llama3.2`, `qwen3:*`, `hf.co/unsloth/*`. */
export const PullablePattern = z.string().regex(/^[A-Za-z0-9_*][A-Za-z0-9_.:*-]{0,349}(\/[A-Za-z0-9_*][A-Za-z0-9_.:*-]{0,159}){0,2}$/, 'must be the name of a model, * as wildcard')

const expressionOf = (pattern: string): RegExp => {
  const whole = canonicalName(pattern) ?? (pattern.slice(pattern.lastIndexOf('/') + 1).includes(':') || pattern.endsWith('*') ? pattern : `${pattern}:latest`)
  return new RegExp(`^${whole.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')).join('[^/]*')}$`, 'i')
}

/**
 * Whether a model's canonical name is one of those that the patterns mean. A name without a tag means `:latest`, unless it ends with `*`. The
 * wildcard stands for no slash: a name brings its registry with it, and none is to be asked that the list does not have.
 */
export const pullableMatcher = (patterns: readonly string[]): ((model: string) => boolean) => {
  const expressions = patterns.map(expressionOf)
  return (model) => model !== '' && expressions.some((expression) => expression.test(model))
}
