/**
 * When conditions took their status, on disk: `conditions.json` in the state directory, written whole and renamed.
 * What is damaged reads as nothing: times begin anew, and nothing else is lost.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { MeshError } from '../../../common/errors.ts'
import type { ConditionTime, ConditionTimes } from '../../core/status/conditions.ts'
import type { ConditionStore } from '../../runtime/ports.ts'

export function createConditionStore(stateDir: string): ConditionStore {
  const path = join(stateDir, 'conditions.json')
  return {
    load: async () => parse(await readFile(path, 'utf8').catch(() => '[]')),
    async save(times) {
      try {
        await writeFileAtomic(path, JSON.stringify([...times]), { mode: 0o600 })
      } catch (cause) {
        throw new MeshError('ERR_STATE_WRITE', `cannot write ${path}`, { retry: 'backoff', cause })
      }
    },
  }
}

function parse(text: string): ConditionTimes {
  try {
    const entries = JSON.parse(text) as readonly (readonly [string, readonly ConditionTime[]])[]
    return entries.every(isEntry) ? new Map(entries) : new Map()
  } catch {
    return new Map()
  }
}

function isEntry(entry: unknown): boolean {
  if (!Array.isArray(entry) || typeof entry[0] !== 'string' || !Array.isArray(entry[1]))
    return false
  return entry[1].every(
    (c: Partial<ConditionTime> | null) =>
      [c?.type, c?.status, c?.lastTransitionTime].every((v) => typeof v === 'string') &&
      Number.isFinite(Date.parse(c?.lastTransitionTime ?? '')),
  )
}
