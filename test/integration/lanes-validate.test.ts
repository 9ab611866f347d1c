/** Envoy accepts every golden RBAC filter of the lanes: `envoy --mode validate` parses and builds each of them. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JsonObject } from '@bufbuild/protobuf'
import t from 'tap'
import { extension } from '../kit/differential/bed.ts'
import { buildLanesCase, TRANSPORTS } from '../kit/lanes-cases.ts'
import { startProcess } from '../kit/process.ts'
import { tempDir } from '../kit/tempdir.ts'
import { toolPath } from '../kit/tools.ts'

const GOLDEN = join(import.meta.dirname, '../golden/lanes')

const FILTERS = 'envoy.extensions.filters'
const HCM = `${FILTERS}.network.http_connection_manager.v3.HttpConnectionManager`

function httpFilters(rbac: JsonObject): JsonObject {
  return extension('hcm', HCM, {
    statPrefix: 'in',
    routeConfig: { virtualHosts: [] },
    httpFilters: [
      extension('rbac', `${FILTERS}.http.rbac.v3.RBAC`, rbac),
      extension('router', `${FILTERS}.http.router.v3.Router`, {}),
    ],
  })
}

function listener(protocol: string, rbac: JsonObject, index: number): JsonObject {
  const filters =
    protocol === 'http'
      ? [httpFilters(rbac)]
      : [
          extension('rbac', `${FILTERS}.network.rbac.v3.RBAC`, rbac),
          extension('echo', `${FILTERS}.network.echo.v3.Echo`, {}),
        ]
  return {
    name: String(index),
    address: { socketAddress: { address: '127.0.0.1', portValue: index + 1 } },
    filterChains: [{ filters }],
  }
}

t.test('Envoy accepts every golden RBAC filter', async (t) => {
  const cases = readdirSync(GOLDEN).map((name) =>
    buildLanesCase(readFileSync(join(GOLDEN, name, 'in.yaml'), 'utf8')),
  )
  const listeners = cases
    .flatMap((c) => TRANSPORTS.map((transport) => [c.protocol, c[transport]] as const))
    .map(([protocol, rbac], i) => listener(protocol, rbac, i))
  const config = join(tempDir(t), 'envoy.json')
  writeFileSync(config, JSON.stringify({ staticResources: { listeners } }))
  const envoy = startProcess(t, toolPath('envoy'), [
    ...['--mode', 'validate', '-c', config, '--disable-hot-restart', '-l', 'error'],
  ])
  const { code } = await envoy.exited
  t.equal(code, 0, `${listeners.length} filters\n${envoy.lines.join('\n')}`)
})
