import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from './cli.ts'

const library = fileURLToPath(new URL('../../deploy/setup/private-apt.sh', import.meta.url))
const debian = spawnSync('apt-get', ['--version']).status === 0
const NAME = 'drover-test'
const FILE = `${NAME}_1.0_all.deb`

/** Downloads the package as the install scripts do, and unpacks it. */
const SCRIPT = `set -euo pipefail
. ${library}
work=$1
private_apt_begin "$work"
echo "deb [trusted=yes] $2 ./" >"$work/apt/sources.list"
apt_sources=$work/apt/sources.list
private_apt update
private_apt_download ${NAME}
unpack_all "$work"`

/** A package archive of one package on a port of its own, and what has been asked of it. `spoil` changes the package on its way. */
const archive = async (folder: string) => {
  const tree = join(folder, 'tree')
  await mkdir(join(tree, 'DEBIAN'), { recursive: true })
  await chmod(join(tree, 'DEBIAN'), 0o755) // whatever the umask is: dpkg-deb refuses others
  await writeFile(join(tree, 'payload'), 'whole and right\n'.repeat(1000))
  await writeFile(join(tree, 'DEBIAN/control'), `Package: ${NAME}\nVersion: 1.0\nArchitecture: all\nMaintainer: none <none@localhost>\nDescription: test\n`)
  expect(spawnSync('dpkg-deb', ['--root-owner-group', '--build', tree, join(folder, FILE)]).status).toBe(0)
  const deb = await readFile(join(folder, FILE))
  const control = await readFile(join(tree, 'DEBIAN/control'), 'utf8')
  const index = `${control}Filename: ./${FILE}\nSize: ${deb.length}\nSHA256: ${createHash('sha256').update(deb).digest('hex')}\n\n`
  const state = { deb, url: '', downloads: 0, spoil: (bytes: Buffer): Buffer | undefined => bytes }
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    if (path.endsWith('/Packages')) return void response.end(index)
    response.statusCode = path.endsWith('.deb') ? 200 : 404
    if (response.statusCode === 404) return void response.end()
    state.downloads += 1
    const bytes = state.spoil(deb)
    response.setHeader('content-length', deb.length)
    response.write(bytes ?? deb.subarray(0, 200), () => bytes ?? response.destroy())
    if (bytes) response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const address = server.address()
  state.url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`
  return state
}

const download = async (work: string, url: string): Promise<{ code: number | null; errors: string }> => {
  const child = spawn('bash', ['-c', SCRIPT, 'test', work, url], { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env['PATH'], no_proxy: '*' } })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, errors }
}

test.skipIf(!debian)('a package that was damaged on its way is refused with the reason, and the next run has it', async () => {
  const folder = await temporaryFolder('apt')
  const work = join(folder, 'work')
  const source = await archive(folder)
  source.spoil = (bytes) => Buffer.from(bytes).fill(0, 100, 120)
  const damaged = await download(work, source.url)
  expect(damaged.code).toBe(1)
  expect(damaged.errors).toMatch(/apt-get install failed: E: .*Hash Sum mismatch/)
  source.spoil = (bytes) => bytes
  expect(await download(work, source.url)).toEqual({ code: 0, errors: '' })
  expect(await readFile(join(work, 'root/payload'), 'utf8')).toContain('whole and right')
  expect(await readFile(join(work, 'packages.txt'), 'utf8')).toBe(`${NAME}=1.0\n`)
  expect(Number(await readFile(join(work, 'download-bytes'), 'utf8'))).toBe(source.deb.length)
})

test.skipIf(!debian)('what an earlier run has downloaded is used if it is right, and fetched again if not', async () => {
  const folder = await temporaryFolder('apt')
  const work = join(folder, 'work')
  const archives = join(work, 'apt/cache/archives')
  const source = await archive(folder)
  await mkdir(archives, { recursive: true })
  await writeFile(join(archives, FILE), Buffer.alloc(source.deb.length)) // of the right size, which is all that apt looks at
  await writeFile(join(archives, 'older_0.1_all.deb'), 'from another time')
  expect(await download(work, source.url)).toEqual({ code: 0, errors: '' })
  expect(source.downloads).toBe(1)
  expect(await readdir(archives)).not.toContain('older_0.1_all.deb')
  expect(await download(work, source.url)).toEqual({ code: 0, errors: '' })
  expect(source.downloads).toBe(1)
})

test.skipIf(!debian)('an archive that is not there is one line of reason', async () => {
  const work = await temporaryFolder('work')
  const { code, errors } = await download(work, 'file:///nowhere')
  expect(code).toBe(1)
  expect(errors).toMatch(/^.*apt-get update failed: E: .*nowhere.*\n$/)
})
