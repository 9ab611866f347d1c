/** How a workload is named on the command line: `NAME` in the namespace of `-n`, or `NAMESPACE/NAME`. */
import { MeshError } from '../common/errors.ts'

/** `namespace/name`. Errors: ERR_CONFIG. */
export function toWorkloadName(text: string, namespace: string): string {
  const parts = text.split('/')
  const [first = '', second] = parts
  if (parts.length > 2 || first === '' || second === '') {
    throw new MeshError('ERR_CONFIG', `${text} names no workload; write NAME or NAMESPACE/NAME`)
  }
  return second === undefined ? `${namespace}/${first}` : text
}
