/**
 * Finds one decision in the decision log, from its end on: `postern explain decision`. Reads, never writes; bounded,
 * so that a log of many gigabytes costs a question no more than its last part.
 */
import { type FileHandle, open } from 'node:fs/promises'
import type { DecisionRecord } from '../../../common/decision.ts'
import type { DecisionLogTarget } from './decision-log-file.ts'

export interface DecisionSearch {
  readonly record?: DecisionRecord
  /** Why it may be there all the same. */
  readonly limit?: string
}

const CHUNK_BYTES = 1024 * 1024
/** Origin: some 100,000 decisions; read in 0.1 s. */
const MAX_BYTES = 128 * 1024 * 1024
const NEWLINE = 0x0a

/** The newest record with this id in the file, or in the one that was rotated to `<file>.1`. Never throws. */
export async function findDecision(
  target: DecisionLogTarget,
  id: string,
  maxBytes = MAX_BYTES,
): Promise<DecisionSearch> {
  if (target === '-') return { limit: 'the decision log goes to standard output' }
  let limit: string | undefined
  for (const path of [target, `${target}.1`]) {
    const found = await searchFile(path, id, maxBytes)
    if (found.record !== undefined) return found
    limit ??= found.limit
  }
  return limit === undefined ? {} : { limit }
}

async function searchFile(path: string, id: string, maxBytes: number): Promise<DecisionSearch> {
  let file: FileHandle | undefined
  try {
    file = await open(path, 'r')
    return await searchBackwards(file, id, maxBytes)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' ? {} : { limit: `the decision log can't be read: ${code}` }
  } finally {
    await file?.close()
  }
}

async function searchBackwards(
  file: FileHandle,
  id: string,
  maxBytes: number,
): Promise<DecisionSearch> {
  const needle = `"decision_id":${JSON.stringify(id)}`
  let end = (await file.stat()).size
  const stop = Math.max(0, end - maxBytes)
  /** The end of a line whose beginning wasn't read yet. */
  let rest = Buffer.alloc(0)
  while (end > stop) {
    const start = Math.max(stop, end - CHUNK_BYTES)
    const chunk = Buffer.alloc(end - start)
    await file.read(chunk, 0, chunk.length, start)
    const text = Buffer.concat([chunk, rest])
    const head = start === 0 ? 0 : text.indexOf(NEWLINE) + 1
    const record = start > 0 && head === 0 ? undefined : findIn(text.subarray(head), needle, id)
    if (record !== undefined) return { record }
    rest = text.subarray(0, start > 0 && head === 0 ? text.length : head)
    end = start
  }
  return stop === 0 ? {} : { limit: `only the last ${maxBytes} bytes of the log were read` }
}

/** The last whole line that has the id. */
function findIn(lines: Buffer, needle: string, id: string): DecisionRecord | undefined {
  let at = lines.lastIndexOf(needle)
  while (at >= 0) {
    const begin = lines.lastIndexOf(NEWLINE, at) + 1
    const close = lines.indexOf(NEWLINE, at)
    const record = parse(lines.subarray(begin, close < 0 ? lines.length : close).toString('utf8'))
    // A client could have put the text into its path.
    if (record?.decision_id === id) return record
    at = begin === 0 ? -1 : lines.lastIndexOf(needle, begin - 1)
  }
  return undefined
}

function parse(line: string): DecisionRecord | undefined {
  try {
    return JSON.parse(line) as DecisionRecord
  } catch {
    return undefined
  }
}
