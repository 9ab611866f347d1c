import t from 'tap'
import { parseConfig } from '../../../controller/config.ts'

const parse = (argv: string[], env = {}) =>
  parseConfig(argv, env, { cwd: '/run/x', defaultOpa: '/opt/opa' })

t.test('flags, environment, defaults', async (t) => {
  t.same(parse(['--manifests', 'm', '--state=s']), {
    kind: 'config',
    config: {
      source: 'files',
      kubeconfig: '',
      namespace: 'postern-system',
      manifests: '/run/x/m',
      state: '/run/x/s',
      listen: { host: '127.0.0.1', port: 15012 },
      health: { host: '127.0.0.1', port: 15014 },
      webhook: undefined,
      injection: '',
      opa: '/opt/opa',
      logLevel: 'info',
    },
  })
  const argv = ['--manifests', 'm', '--state', 's', '--listen', '[::1]:0', '--log-level', 'debug']
  t.match(parse(argv, { POSTERN_OPA: '/usr/bin/opa' }), {
    config: { listen: { host: '::1', port: 0 }, opa: '/usr/bin/opa', logLevel: 'debug' },
  })
  t.match(parse([...argv, '--opa', 'x'], { POSTERN_OPA: 'y' }), { config: { opa: '/run/x/x' } })
})

t.test('every mistake at once', async (t) => {
  const result = parse([
    '--listen',
    'nowhere',
    '--log-level',
    'loud',
    '--nope',
    '--health',
    'a:99999',
  ])
  if (result.kind !== 'mistakes') throw new Error('no mistakes')
  t.match(result.mistakes.join('\n'), /--manifests DIR is required/)
  t.match(result.mistakes.join('\n'), /--state DIR is required/)
  t.match(result.mistakes.join('\n'), /--listen nowhere: must be HOST:PORT/)
  t.match(result.mistakes.join('\n'), /--health a:99999: must be HOST:PORT/)
  t.match(result.mistakes.join('\n'), /--log-level loud: must be one of/)
  t.match(result.mistakes.join('\n'), /--nope is no option/)
  t.match(parse(['--state']), { mistakes: [/needs a value/, /--state/, /--manifests/] })
  t.match(parse(['--state', '', '--manifests', 'm']), { mistakes: [/must not be empty/] })
})

t.test('help names every option with its default', async (t) => {
  const help = parse(['--help'])
  t.match(help.kind === 'help' && help.text, /--listen HOST:PORT .*default: 127\.0\.0\.1:15012/)
  t.match(help.kind === 'help' && help.text, /--manifests DIR .*required/)
})

t.test('where objects come from', async (t) => {
  const state = ['--state', 's']
  t.match(parse([...state, '--source', 'kubernetes']), {
    config: { source: 'kubernetes', manifests: '', kubeconfig: '' },
  })
  t.match(parse([...state, '--source', 'kubernetes', '--kubeconfig', 'k']), {
    config: { kubeconfig: '/run/x/k' },
  })
  t.match(parse([...state, '--source', 'etcd']), { mistakes: [/must be files or kubernetes/] })
  t.match(parse([...state, '--source', 'kubernetes', '--manifests', 'm']), {
    mistakes: [/--manifests is for --source files/],
  })
})

t.test('webhooks', (t) => {
  const at = { cwd: '/x', defaultOpa: '/opa' }
  const files = ['--manifests', 'm', '--state', 's', '--webhook', '0.0.0.0:15017']
  t.match(parseConfig(files, {}, at), { mistakes: ['--webhook is for --source kubernetes'] })
  const cluster = ['--source=kubernetes', '--state=s', '--webhook=0.0.0.0:15017', '--injection=i']
  t.match(parseConfig(cluster, {}, at), {
    config: { webhook: { host: '0.0.0.0', port: 15_017 }, injection: '/x/i' },
  })
  t.match(parseConfig([...cluster, '--webhook', 'x'], {}, at), { mistakes: [/HOST:PORT/] })
  t.end()
})
