/** What each case's policies become in Envoy's RBAC filters and in Rego, and which lane each rule takes. */
import t from 'tap'
import { golden } from '../kit/golden.ts'
import { buildLanesCase } from '../kit/lanes-cases.ts'

await golden(t, 'lanes', ({ read }) => {
  const { plan, tls, plaintext, rego } = buildLanesCase(read())
  return {
    'out.plan.yaml': plan,
    'out.tls.yaml': tls,
    'out.plaintext.yaml': plaintext,
    'out.rego': rego,
  }
})
