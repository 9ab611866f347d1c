/** `postern version`: the version of this package. */
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { print } from './output/print.ts'

const PACKAGE = new URL('../package.json', import.meta.url)

/** From package.json, so that it stands in one place. */
export const VERSION: string = (JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string })
  .version

export function addVersion(program: Command): void {
  program
    .command('version')
    .description('print the version')
    .action(() => {
      print(`postern ${VERSION} (node ${process.versions.node})\n`)
    })
}
