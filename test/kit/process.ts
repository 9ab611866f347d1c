/**
 * Child processes of tests: start, wait for what they print, stop by pid.
 * Each gets a process group of its own; when the test ends it is stopped, and whatever is left of the group afterwards
 * is killed and fails the test. It also dies with the test process (pdeathsig), however that ends.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { DEFAULT_TIMEOUT_MS, type WaitOptions, waitFor } from './wait.ts'

const KEPT_LINES = 2000
const GRACE_MS = 10_000
const PIPE_GRACE_MS = 200

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface TestProcess {
  readonly pid: number
  /** What it wrote to stdout and stderr so far, in order of arrival; the last 2,000 lines. */
  readonly lines: readonly string[]
  /** Resolves when it has ended and its output is read. Never rejects. */
  readonly exited: Promise<Exit>
  /** The first line, written already or still to come, that matches. Rejects when it ends before. */
  waitForLine(pattern: RegExp, options?: WaitOptions): Promise<RegExpMatchArray>
  /** Waits until `condition` holds; rejects with its last output when it ends before. */
  waitFor<T>(condition: () => T | Promise<T>, options?: WaitOptions): Promise<NonNullable<T>>
  kill(signal: NodeJS.Signals): void
  /** Asks it to end (SIGTERM by default), kills it after 10 s, and returns how it ended. */
  stop(signal?: NodeJS.Signals): Promise<Exit>
}

export interface StartOptions {
  readonly cwd?: string
  /** Added to the test's own environment. */
  readonly env?: Readonly<Record<string, string>>
}

/** Starts a program that ends with the test at the latest. Its exit code is the test's to judge. */
export function startProcess(
  t: Pick<Test, 'teardown' | 'fail'>,
  command: string,
  args: readonly string[],
  options: StartOptions = {},
): TestProcess {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  if (child.pid === undefined) throw new Error(`${command} can't be started: setpriv is missing`)
  const process_ = watch(child, child.pid, command)
  t.teardown(async () => {
    await process_.stop()
    const left = await leftovers(process_.pid)
    for (const pid of left) process.kill(pid, 'SIGKILL')
    if (left.length > 0) t.fail(`${command} left processes of its own behind: ${left.join(', ')}`)
  })
  return process_
}

function watch(child: ChildProcess, pid: number, command: string): TestProcess {
  const lines: string[] = []
  const keep = (line: string) => {
    lines.push(line)
    if (lines.length > KEPT_LINES) lines.shift()
  }
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream }).on('line', keep)
  }
  let ended: Exit | undefined
  child.on('error', (error) => keep(error.message))
  const exited = new Promise<Exit>((resolve) => {
    child.on('exit', (code, signal) => {
      ended = { code, signal }
      // 'close' comes when all output is read; a grandchild that keeps the pipes open must not keep us waiting.
      const timer = setTimeout(resolve, PIPE_GRACE_MS, ended)
      child.on('close', () => {
        clearTimeout(timer)
        resolve({ code, signal })
      })
    })
  })
  const alive = async <T>(condition: () => T | Promise<T>, options: WaitOptions = {}) => {
    const gone = new AbortController()
    void exited.then(() => gone.abort())
    const given = options.signal ?? AbortSignal.timeout(DEFAULT_TIMEOUT_MS)
    const signal = AbortSignal.any([given, gone.signal])
    try {
      return await waitFor(condition, { ...options, signal })
    } catch (error) {
      const how = ended === undefined ? 'is running' : `ended with ${ended.code ?? ended.signal}`
      const tail = lines.slice(-40).join('\n')
      throw new Error(`${(error as Error).message}; ${command} ${how}:\n${tail}`)
    }
  }
  return {
    pid,
    lines,
    exited,
    waitFor: alive,
    waitForLine: (pattern, options) =>
      alive(() => firstMatch(lines, pattern), { what: `a line like ${pattern}`, ...options }),
    kill: (signal) => void child.kill(signal),
    stop: async (signal = 'SIGTERM') => {
      if (ended !== undefined) return ended
      child.kill(signal)
      const timer = setTimeout(() => child.kill('SIGKILL'), GRACE_MS)
      const exit = await exited
      clearTimeout(timer)
      return exit
    },
  }
}

function firstMatch(lines: readonly string[], pattern: RegExp): RegExpMatchArray | undefined {
  for (const line of lines) {
    const match = line.match(pattern)
    if (match !== null) return match
  }
  return undefined
}

/** Live members of a process group, after up to a second in which they may still be ending. */
async function leftovers(group: number): Promise<number[]> {
  const signal = AbortSignal.timeout(1000)
  await waitFor(() => groupMembers(group).length === 0, { signal }).catch(() => {})
  return groupMembers(group)
}

function groupMembers(group: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        // proc(5): "pid (comm) state ppid pgrp …"; comm may hold anything, also `)`.
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
        const [state, , pgrp] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        return Number(pgrp) === group && state !== 'Z'
      } catch {
        return false // it has just ended
      }
    })
}
