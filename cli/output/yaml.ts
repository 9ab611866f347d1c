/** YAML as people write it: long text stays in literal blocks, nothing is folded. */
import { stringify } from 'yaml'

export function formatYaml(value: unknown): string {
  return stringify(value, { lineWidth: 0, blockQuote: 'literal' })
}
