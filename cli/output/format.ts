/** `-o table|yaml|json`, for verbs whose answer is a value of their own and no object. */
import { MeshError } from '../../common/errors.ts'
import { formatYaml } from './yaml.ts'

const OUTPUTS = ['table', 'yaml', 'json']

/** Errors: ERR_CONFIG. */
export function checkOutput(output: string): void {
  if (OUTPUTS.includes(output)) return
  throw new MeshError('ERR_CONFIG', `-o ${output} is none of ${OUTPUTS.join(', ')}`)
}

/** Undefined: a table is wanted. */
export function formatStructured(output: string, value: unknown): string | undefined {
  if (output === 'json') return `${JSON.stringify(value, null, 2)}\n`
  return output === 'yaml' ? formatYaml(value) : undefined
}
