/** `postern token create`: a one-use join token for one WorkloadEntry, on stdout. */
import type { Command } from 'commander'
import { MeshError } from '../common/errors.ts'
import { askController } from './admin-client.ts'
import { print } from './output/print.ts'
import { stateOption } from './state.ts'

const DURATION = /^(\d+)(s|m|h)$/
const SECONDS = { s: 1, m: 60, h: 3600 } as const

/** `90s`, `10m`, `1h` → seconds. */
export function parseDuration(text: string): number {
  const match = DURATION.exec(text)
  const unit = match?.[2] as keyof typeof SECONDS | undefined
  if (match === null || unit === undefined) {
    throw new MeshError('ERR_CONFIG', `--ttl ${text} is no duration; write 90s, 10m or 1h`)
  }
  return Number(match[1]) * SECONDS[unit]
}

export function addToken(program: Command): void {
  const token = program.command('token').description('join tokens for standalone workloads')
  stateOption(token.command('create'))
    .description('make a one-use join token for a WorkloadEntry and print it')
    .requiredOption('--workload <namespace/name>', 'the WorkloadEntry that the token is bound to')
    .option('--ttl <duration>', 'how long it can be used: 90s, 10m, 1h', '10m')
    .action(async (options: { workload: string; ttl: string; state: string }) => {
      const answer = await askController(options.state, 'POST', '/tokens', {
        workload: options.workload,
        ttlSeconds: parseDuration(options.ttl),
      })
      if (answer === undefined) {
        throw new MeshError(
          'ERR_WORKLOAD_NOT_FOUND',
          `there is no WorkloadEntry ${options.workload}; \`postern get workloadentries -A\` lists them`,
        )
      }
      print(`${(answer as { token: string }).token}\n`)
    })
}
