/** Every mistake at once; flags over environment over defaults. */
import t from 'tap'
import { parseConfig, SIDECAR_OPTIONS, variableOf } from '../../../sidecar/config.ts'

const places = { cwd: '/here', packageRoot: '/pkg' }
const parse = (argv: string[], env: Record<string, string> = {}) => parseConfig(argv, env, places)
const needed = ['--controller', '127.0.0.1:15012', '--state', 'web']

t.test('defaults', async (t) => {
  t.same(parse(needed), {
    kind: 'config',
    config: {
      controller: '127.0.0.1:15012',
      state: '/here/web',
      joinTokenFile: undefined,
      pod: undefined,
      appProbes: [],
      runDir: '/here/web/run',
      health: undefined,
      accessLog: '-',
      decisionLog: '-',
      envoy: '/pkg/.tools/envoy',
      concurrency: 2,
      drainSeconds: 5,
      logLevel: 'info',
    },
  })
})

t.test('all flags, in both forms', async (t) => {
  const parsed = parse([
    '--controller=[::1]:1',
    '--state=/s',
    '--join-token-file=t',
    ...['--run-dir', '/r', '--health', 'localhost:2', '--decision-log', 'd.jsonl'],
    ...['--envoy', '/e', '--concurrency', '1', '--drain-seconds', '0', '--log-level', 'debug'],
  ])
  t.match(parsed, {
    config: {
      controller: '[::1]:1',
      joinTokenFile: '/here/t',
      runDir: '/r',
      health: 'localhost:2',
      decisionLog: '/here/d.jsonl',
      envoy: '/e',
      concurrency: 1,
      drainSeconds: 0,
      logLevel: 'debug',
    },
  })
})

t.test('the environment stands in for flags, and flags win', async (t) => {
  const env = { POSTERN_ENVOY: '/env', POSTERN_LOG_LEVEL: 'warn' }
  t.match(parse([...needed, '--log-level', 'error'], env), {
    config: { envoy: '/env', logLevel: 'error' },
  })
})

t.test('every mistake at once', async (t) => {
  const parsed = parse([
    ...['--controller', 'nowhere', '--health', 'x:99999', '--concurrency', '0'],
    ...['--drain-seconds', 'x', '--log-level', 'loud', '--bogus', '--envoy', 'a', '--envoy', 'b'],
    '--run-dir',
  ])
  if (parsed.kind !== 'mistakes') return t.fail('accepted')
  const all = parsed.mistakes.join('\n')
  for (const flag of ['controller', 'state', 'health', 'concurrency', 'drain-seconds', 'log-level'])
    t.match(all, new RegExp(`--${flag} `))
  t.match(all, /--bogus is no option/)
  t.match(all, /--envoy is given twice/)
  t.match(all, /--run-dir lacks its value/)
})

t.test('help names every option', async (t) => {
  for (const flag of ['--help', '-h']) {
    const parsed = parse([flag])
    if (parsed.kind !== 'help') return t.fail('no help')
    for (const option of SIDECAR_OPTIONS) t.match(parsed.text, `--${option.flag}`)
  }
  t.equal(variableOf('drain-seconds'), 'POSTERN_DRAIN_SECONDS')
})

t.test('in a pod', async (t) => {
  const env = {
    POSTERN_ATTEST: 'pod',
    POSTERN_POD_NAMESPACE: 'shop',
    POSTERN_POD_NAME: 'web-1',
    POSTERN_POD_UID: 'u-1',
    POSTERN_SERVICE_ACCOUNT: 'web',
    POSTERN_POD_IP: '10.1.0.9',
    POSTERN_APP_PROBES: '[{"path":"/app-health/app/livez","kind":"tcp","port":80}]',
  }
  t.match(parse(needed, env), {
    config: {
      state: '/here/web/sidecar',
      runDir: '/here/web/sidecar/run',
      pod: {
        namespace: 'shop',
        name: 'web-1',
        uid: 'u-1',
        serviceAccount: 'web',
        ip: '10.1.0.9',
        tokenFile: '/var/run/secrets/postern/token/token',
        rootsFile: '/var/run/secrets/postern/roots/ca.crt',
      },
      appProbes: [{ kind: 'tcp' }],
    },
  })
  const { POSTERN_POD_UID: _, ...without } = env
  t.match(parse(needed, without), { mistakes: [/--pod-uid is missing/] })
  const wrong = { ...env, POSTERN_POD_IP: 'here', POSTERN_APP_PROBES: '[1]' }
  t.match(parse(needed, wrong), { mistakes: [/no IP address/, /number 1, that is no object/] })
  t.match(parse([...needed, '--app-probes', '[]']), { mistakes: [/for --attest pod/] })
  t.match(parse([...needed, '--attest', 'trust']), { mistakes: [/neither token nor pod/] })
})
