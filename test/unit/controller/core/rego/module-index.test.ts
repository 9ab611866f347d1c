import t from 'tap'
import { restrictCapabilities } from '../../../../../controller/core/rego/capabilities.ts'
import { rulePaths } from '../../../../../controller/core/rego/module-index.ts'

const v = (value: string) => ({ type: 'var', value })
const s = (value: string) => ({ type: 'string', value })

t.test('rules are named as entrypoints', async (t) => {
  const module = {
    package: { path: [v('data'), s('envoy'), s('authz')] },
    rules: [
      { head: { ref: [v('allow')] } },
      { head: { ref: [v('allow')] } },
      { head: { ref: [v('roles'), s('admin'), v('x'), s('y')] } },
      { head: { name: 'old' } },
      { head: { ref: [v('f')], args: [v('x')] } },
    ],
  }
  t.same(rulePaths(module), ['envoy/authz/allow', 'envoy/authz/old', 'envoy/authz/roles/admin'])
  t.same(rulePaths(null), [])
  t.same(rulePaths({ package: { path: [v('data'), s('p')] }, rules: null }), [])
  t.same(rulePaths({ rules: [{}] }), [''])
})

t.test('capabilities lose what a decision must not use', async (t) => {
  const all = { builtins: [{ name: 'http.send' }, { name: 'count' }], features: ['x'] }
  t.same(restrictCapabilities(all), {
    builtins: [{ name: 'count' }],
    features: ['x'],
    allow_net: [],
  })
  t.same(restrictCapabilities({}), { builtins: [], allow_net: [] })
})
