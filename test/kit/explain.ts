/** Versions of a workload's configuration as the controller's admin API gives them, for tests of `explain`. */
import { toBinary } from '@bufbuild/protobuf'
import type { Version } from '../../cli/explain/asked.ts'
import { packBundle } from '../../common/bundle.ts'
import type { PolicySet } from '../../common/policy-set.ts'
import type { InboundPort } from '../../controller/core/model/mesh.ts'
import { buildExtensionConfigs } from '../../controller/core/xds/extension-config.ts'
import { TypedExtensionConfigSchema } from '../../proto/gen/envoy/config/core/v3/extension_pb.js'

export function makePort(given: Partial<InboundPort> = {}): InboundPort {
  return {
    ...{ name: 'http', address: '127.0.0.1', port: 8080, appAddress: '127.0.0.1', appPort: 1 },
    ...{ protocol: 'HTTP', serverFirst: false, mtls: 'PERMISSIVE' },
    ...given,
  }
}

export async function makeVersion(
  set: PolicySet,
  inbound: readonly InboundPort[] = [makePort()],
  wasm: ReadonlyMap<string, Uint8Array> = new Map(),
): Promise<Version> {
  const { revision, archive } = await packBundle({ set, wasm })
  const configs = inbound.flatMap((port) => buildExtensionConfigs(port, set))
  return {
    roles: ['enforced', 'newest'],
    generation: 'g',
    revision,
    trustDomain: set.trustDomain,
    inbound,
    extensions: Object.fromEntries(
      configs.map((c) => [
        c.name,
        Buffer.from(toBinary(TypedExtensionConfigSchema, c)).toString('base64'),
      ]),
    ),
    archive: Buffer.from(archive).toString('base64'),
  }
}
