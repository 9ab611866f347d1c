/** Writes a verb's result to stdout; the only way there, so that nothing reaches a terminal unescaped. */
import { toPrintable } from './printable.ts'

export function print(text: string): void {
  process.stdout.write(toPrintable(text))
}
