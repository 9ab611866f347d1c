/** A process with an Envoy as its child, for tests that kill it: `envoy-parent.ts BOOTSTRAP`, prints the child's pid. */
import { pino } from 'pino'
import { EnvoyProcess } from '../../sidecar/adapters/envoy/envoy-process.ts'
import { toolPath } from './tools.ts'

const envoy = new EnvoyProcess({
  envoyPath: toolPath('envoy'),
  bootstrapPath: process.argv[2] ?? '',
  concurrency: 1,
  drainSeconds: 1,
  log: pino({ level: 'silent' }),
}).launch()
process.stdout.write(`envoy ${envoy.pid}\n`)
await envoy.exited
