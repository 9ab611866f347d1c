import t from 'tap'
import { HOST_BUILTINS } from '../../../common/rego-builtins.ts'
import { UNAVAILABLE_BUILTINS } from '../../../controller/core/rego/capabilities.ts'
import { builtins } from '../../../sidecar/adapters/wasm/builtins/all.ts'

t.test('the sidecar offers exactly what the controller lets through', async (t) => {
  t.same([...HOST_BUILTINS].sort(), [...builtins.keys()].sort())
  for (const name of ['http.send', 'net.lookup_ip_addr', 'opa.runtime', 'rego.parse_module']) {
    t.ok(UNAVAILABLE_BUILTINS.has(name), `${name} is out of reach`)
  }
})
