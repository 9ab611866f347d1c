/**
 * Makes node_modules what package-lock.json says, with the pinned Node in it; does nothing when it is so already.
 * Plain JavaScript: this is what any Node ≥ 20 starts, everything after it runs on node_modules/.bin/node.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const NODE = join(ROOT, 'node_modules/.bin/node')
/** What `tap build` made its test class from; it lies in node_modules and goes with it. */
const TAP_BUILT = join(ROOT, 'node_modules/.tap-built')

function read(path) {
  return JSON.parse(readFileSync(join(ROOT, path), 'utf8'))
}

/** npm keeps what it installed in node_modules/.package-lock.json; packages for other machines are not in it. */
function isInstalled() {
  if (!existsSync(join(ROOT, 'node_modules/.package-lock.json')) || !existsSync(NODE)) return false
  const wanted = read('package-lock.json').packages
  const present = read('node_modules/.package-lock.json').packages
  return Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || (path in present ? present[path].version === version : optional === true),
  )
}

function run(command, args) {
  const path = `${join(ROOT, 'node_modules/.bin')}:${process.env.PATH}`
  execFileSync(command, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, PATH: path } })
}

function fail(sentence) {
  process.stderr.write(`${sentence}\n`)
  process.exit(1)
}

if (Number(process.versions.node.split('.')[0]) < 20) {
  fail(`Node 20 or newer is needed to start; this is ${process.versions.node}.`)
}
if (!isInstalled()) {
  process.stderr.write('node_modules: npm ci (about 120 MB of packages, under a minute)\n')
  try {
    // Warnings say that packages want a newer Node than the one that starts npm; they get it.
    const flags = ['--no-audit', '--no-fund', '--loglevel=error']
    execFileSync('npm', ['ci', ...flags], { cwd: ROOT, stdio: ['ignore', 2, 2] })
  } catch (error) {
    fail(
      error.code === 'ENOENT'
        ? 'npm is missing: install it beside Node.'
        : 'npm ci failed, see above.',
    )
  }
  if (!existsSync(NODE)) fail(`there is no pinned Node for ${process.platform} ${process.arch}.`)
}
const stamp = `${read('node_modules/tap/package.json').version}\n${readFileSync(join(ROOT, '.taprc'))}`
if (!existsSync(TAP_BUILT) || readFileSync(TAP_BUILT, 'utf8') !== stamp) {
  run('tap', ['build'])
  writeFileSync(TAP_BUILT, stamp)
}
