/** Finds one decision in decision logs that lie here as files, whoever wrote them: one JSON record a line. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { DecisionRecord } from '../../common/decision.ts'
import { MeshError } from '../../common/errors.ts'

/** The last record with the id in the first file that has one. Errors: ERR_NOT_FOUND; ERR_CONFIG: a file can't be read. */
export async function findInFiles(files: readonly string[], id: string): Promise<DecisionRecord> {
  for (const file of files) {
    const found = await findInFile(file, id)
    if (found !== undefined) return found
  }
  throw new MeshError('ERR_NOT_FOUND', `decision ${id} is not in ${files.join(', ')}`)
}

async function findInFile(file: string, id: string): Promise<DecisionRecord | undefined> {
  let found: DecisionRecord | undefined
  try {
    for await (const line of createInterface({ input: createReadStream(file) })) {
      if (line.includes(id)) found = parse(line, id) ?? found
    }
    return found
  } catch (cause) {
    throw new MeshError('ERR_CONFIG', `the decision log ${file} can't be read`, { cause })
  }
}

/** Undefined: half a line, or another record that has the id in it. */
function parse(line: string, id: string): DecisionRecord | undefined {
  try {
    const record = JSON.parse(line) as DecisionRecord
    return record.decision_id === id && typeof record.postern === 'object' ? record : undefined
  } catch {
    return undefined
  }
}
