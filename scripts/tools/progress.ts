/**
 * Progress of one step, for people: what, how big, how long. Lines only, so that logs stay readable.
 * In: a label, what is expected, and optionally a folder whose growth shows how far a download is.
 * Out: one line at the start, one every few seconds, nothing at the end (the caller says what came of it).
 */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const EVERY_MS = 10_000

export type Say = (line: string) => void

export interface Step {
  readonly label: string
  /** Such as `37 MB` or `about 2 min on 2 cores`. */
  readonly expected: string
  /** The folder that the step fills. */
  readonly folder?: string
}

/** Runs `work`, saying every 10 s how long it has been going on. */
export async function withProgress<T>(say: Say, step: Step, work: () => Promise<T>): Promise<T> {
  const start = performance.now()
  say(`${step.label} (${step.expected})`)
  const timer = setInterval(() => {
    const seconds = Math.round((performance.now() - start) / 1000)
    const size = step.folder === undefined ? '' : `${formatBytes(folderBytes(step.folder))}, `
    say(`${step.label} … ${size}${seconds} s`)
  }, EVERY_MS)
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}

/** `37 MB`: decimal megabytes, at least 1. */
export function formatBytes(bytes: number): string {
  return `${Math.max(1, Math.round(bytes / 1e6))} MB`
}

function folderBytes(folder: string): number {
  try {
    return readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
      const path = join(folder, entry.name)
      return sum + (entry.isDirectory() ? folderBytes(path) : statSync(path).size)
    }, 0)
  } catch {
    return 0 // it is being written: a file may go while we look
  }
}
