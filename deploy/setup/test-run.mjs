import { readFileSync, rmSync } from 'node:fs'
import { relative } from 'node:path'
import { run } from './child.mjs'
import { say } from './say.mjs'

const tool = (name) => `node_modules/.bin/${name}`

const readReport = (path) => {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}

/** Tests by their state, as `file: name`. A file that could not even be loaded counts as one failed test. */
export const count = (report) => {
  const files = report?.testResults ?? []
  const tests = files.flatMap(({ name, assertionResults }) =>
    assertionResults.map(({ status, fullName }) => ({ status, name: `${relative(process.cwd(), name)}: ${fullName}` })),
  )
  const broken = files.filter(({ status, assertionResults }) => status === 'failed' && assertionResults.every((test) => test.status !== 'failed'))
  return {
    passed: tests.filter(({ status }) => status === 'passed').length,
    failed: tests.filter(({ status }) => status === 'failed').length + broken.length,
    skipped: tests.filter(({ status }) => status !== 'passed' && status !== 'failed').map(({ name }) => name),
  }
}

/**
 * Types, lint, then all tests; the exit code. The last line is `N passed, N failed`, the checks before the tests counted when they
 * fail. With `strict` what is skipped has failed.
 */
export const testRun = async ({ node, env, args, strict, missing }) => {
  let failedChecks = 0
  for (const [what, name, ...rest] of [
    ['types', 'tsc', '-p', '.'],
    ['lint', 'oxlint'],
  ]) {
    say(`checking ${what} (${[name, ...rest].join(' ')})…`)
    if ((await run(node, [tool(name), ...rest], { env })) !== 0) failedChecks += 1
  }
  say('running tests (vitest)…')
  const path = `.drover/test-report-${process.pid}.json`
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${path}`]
  const code = await run(node, [tool('vitest'), 'run', ...reporters, ...args], { env })
  const { passed, failed, skipped } = count(readReport(path))
  rmSync(path, { force: true })

  for (const name of skipped) console.log(`skipped: ${name}`)
  for (const line of missing) console.log(line)
  // A run that ended badly without a failed test to show for it has still failed.
  const failures = Math.max(failed, code === 0 ? 0 : 1) + failedChecks + (strict ? skipped.length + missing.length : 0)
  if (strict && skipped.length + missing.length > 0) console.log('a skipped test counts as failed here')
  console.log(`${passed} passed, ${failures} failed${!strict && skipped.length > 0 ? `, ${skipped.length} skipped` : ''}`)
  return failures === 0 ? 0 : 1
}
