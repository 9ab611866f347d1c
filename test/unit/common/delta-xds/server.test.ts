/** The rules of one delta-xDS stream, server side; each test is named by its rule. */
import t from 'tap'
import {
  type DeltaRequest,
  isIdle,
  isSubscribed,
  type SendEffect,
  type ServerEffect,
  type ServerState,
  startServer,
  step,
} from '../../../../common/delta-xds/server.ts'
import { TYPE_URLS, type TypeUrl, type XdsSnapshot } from '../../../../common/xds.ts'
import { toXdsSnapshot } from '../../../../common/xds-snapshot.ts'

const { listener, cluster, endpoint, secret, extensionConfig, route } = TYPE_URLS

/** `{ [type]: { name: version } }`; the version is also the content. */
type Plain = Partial<Record<TypeUrl, Record<string, string>>>

function snapshotOf(plain: Plain): XdsSnapshot {
  const lists = Object.entries(plain).map(([typeUrl, names]) => {
    const list = Object.entries(names).map(([name, version]) => ({
      name,
      version,
      value: Buffer.from(version),
    }))
    return [typeUrl as TypeUrl, list] as const
  })
  return toXdsSnapshot(new Map(lists))
}

/** A stream under test: remembers state, gives back effects. */
class Stream {
  state: ServerState
  constructor(isolate = false) {
    this.state = startServer({ isolate })
  }
  #step(event: Parameters<typeof step>[1]): readonly ServerEffect[] {
    const { state, effects } = step(this.state, event)
    this.state = state
    return effects
  }
  snapshot(plain: Plain): SendEffect[] {
    return sends(this.#step({ kind: 'snapshot', snapshot: snapshotOf(plain) }))
  }
  request(typeUrl: string, request: Partial<DeltaRequest> = {}): readonly ServerEffect[] {
    const full = {
      typeUrl,
      subscribe: [],
      unsubscribe: [],
      initialVersions: new Map<string, string>(),
      nonce: '',
      error: undefined,
      ...request,
    }
    return this.#step({ kind: 'request', request: full })
  }
  ack(sent: SendEffect | undefined): readonly ServerEffect[] {
    return this.request(sent?.typeUrl ?? '', { nonce: sent?.nonce ?? '' })
  }
  nack(sent: SendEffect | undefined, error = 'bad'): readonly ServerEffect[] {
    return this.request(sent?.typeUrl ?? '', { nonce: sent?.nonce ?? '', error })
  }
  retry(typeUrl: string, names: readonly string[]): SendEffect[] {
    return sends(this.#step({ kind: 'retry', typeUrl, names }))
  }
  close(): readonly ServerEffect[] {
    return this.#step({ kind: 'closed' })
  }
  /** Wildcard on the types, everything of the snapshot sent and ACKed. */
  settle(plain: Plain, types: readonly TypeUrl[]): void {
    for (const type of types) this.request(type, { subscribe: ['*'] })
    let pending = this.snapshot(plain)
    for (let next = pending.shift(); next !== undefined; next = pending.shift())
      pending = [...pending, ...sends(this.ack(next))]
  }
}

function sends(effects: readonly ServerEffect[]): SendEffect[] {
  return effects.filter((e) => e.kind === 'send')
}
/** `type:name,name-removed` in short. */
function brief(list: readonly SendEffect[]): string[] {
  return list.map((e) => {
    const type = e.typeUrl.split('.').at(-1) ?? ''
    return `${type}:${[...e.resources.map((r) => `${r.name}@${r.version}`), ...e.removed.map((n) => `-${n}`)].join(',')}`
  })
}

t.test('sends nothing before there is a snapshot', async (t) => {
  const s = new Stream()
  t.same(s.request(listener), [])
  t.equal(s.snapshot({ [listener]: { a: '1' } }).length, 1)
})

t.test('takes a first request without names for everything (legacy)', async (t) => {
  const s = new Stream()
  s.snapshot({ [listener]: { a: '1', b: '1' } })
  t.same(brief(sends(s.request(listener))), ['Listener:a@1,b@1'])
  t.ok(isSubscribed(s.state, listener, 'whatever'))
})

t.test('takes * for everything', async (t) => {
  const s = new Stream()
  s.snapshot({ [cluster]: { a: '1', b: '1' } })
  t.same(brief(sends(s.request(cluster, { subscribe: ['*'] }))), ['Cluster:a@1,b@1'])
})

t.test('keeps the legacy wildcard when names come later', async (t) => {
  const s = new Stream()
  s.request(listener)
  s.request(listener, { subscribe: ['b'] })
  const [sent] = s.snapshot({ [listener]: { a: '1', b: '1' } })
  t.same(
    sent?.resources.map((r) => r.name),
    ['a', 'b'],
  )
})

t.test('an empty request after a named one is no wildcard', async (t) => {
  const s = new Stream()
  s.request(endpoint, { subscribe: ['a'] })
  s.request(endpoint, { unsubscribe: ['a'] })
  s.request(endpoint)
  t.same(s.snapshot({ [endpoint]: { a: '1', b: '1' } }), [])
})

t.test('ends the wildcard but keeps the names when * is unsubscribed', async (t) => {
  const s = new Stream()
  s.settle({ [cluster]: { a: '1', b: '1' } }, [cluster])
  const [again] = sends(s.request(cluster, { subscribe: ['b'] }))
  s.ack(again)
  s.request(cluster, { unsubscribe: ['*'] })
  t.same(brief(s.snapshot({ [cluster]: { a: '2', b: '2' } })), ['Cluster:b@2'])
})

t.test('sends only the names that were asked for', async (t) => {
  const s = new Stream()
  s.snapshot({ [endpoint]: { a: '1', b: '1' } })
  t.same(brief(sends(s.request(endpoint, { subscribe: ['b'] }))), ['ClusterLoadAssignment:b@1'])
})

t.test('answers an empty first wildcard, since Envoy waits for it', async (t) => {
  const s = new Stream()
  s.snapshot({})
  const [sent] = sends(s.request(listener))
  t.match(sent, { resources: [], removed: [] })
  t.same(
    s.ack(sent).filter((e) => e.kind === 'send'),
    [],
    'but only once',
  )
})

t.test('sends nothing that initial_resource_versions has', async (t) => {
  const s = new Stream()
  s.snapshot({ [cluster]: { a: '1', b: '2' } })
  const initialVersions = new Map([
    ['a', '1'],
    ['b', '1'],
  ])
  t.same(brief(sends(s.request(cluster, { subscribe: ['*'], initialVersions }))), ['Cluster:b@2'])
})

t.test('says nothing at all after a reconnect without changes', async (t) => {
  const s = new Stream()
  s.snapshot({ [endpoint]: { a: '1' } })
  const initialVersions = new Map([['a', '1']])
  t.same(s.request(endpoint, { subscribe: ['a'], initialVersions }), [])
})

t.test('removes what initial_resource_versions has and the snapshot has not', async (t) => {
  const s = new Stream()
  s.snapshot({ [cluster]: { a: '1' } })
  const initialVersions = new Map([
    ['a', '1'],
    ['old', '1'],
  ])
  t.same(brief(sends(s.request(cluster, { subscribe: ['*'], initialVersions }))), ['Cluster:-old'])
})

t.test('ignores initial versions of names that are not subscribed', async (t) => {
  const s = new Stream()
  s.snapshot({ [endpoint]: { a: '1', b: '1' } })
  const initialVersions = new Map([['b', '1']])
  s.request(endpoint, { subscribe: ['a'], initialVersions })
  t.equal(s.state.subscriptions.get(endpoint)?.held.has('b'), false)
})

t.test('says at once that a subscribed name does not exist', async (t) => {
  const s = new Stream()
  s.snapshot({})
  t.same(brief(sends(s.request(endpoint, { subscribe: ['none'] }))), [
    'ClusterLoadAssignment:-none',
  ])
})

t.test('sends a name that did not exist as soon as it does', async (t) => {
  const s = new Stream()
  s.snapshot({})
  s.ack(sends(s.request(endpoint, { subscribe: ['late'] }))[0])
  t.same(brief(s.snapshot({ [endpoint]: { late: '1' } })), ['ClusterLoadAssignment:late@1'])
})

t.test('says once, not at every snapshot, that a name does not exist', async (t) => {
  const s = new Stream()
  s.snapshot({})
  s.ack(sends(s.request(endpoint, { subscribe: ['none'] }))[0])
  t.same(s.snapshot({ [endpoint]: { other: '1' } }), [])
})

t.test('sends a resubscribed name again though its version is the same', async (t) => {
  const s = new Stream()
  s.snapshot({ [endpoint]: { a: '1' } })
  s.ack(sends(s.request(endpoint, { subscribe: ['a'] }))[0])
  t.same(brief(sends(s.request(endpoint, { subscribe: ['a'] }))), ['ClusterLoadAssignment:a@1'])
})

t.test('ignores the unsubscription of an unknown name', async (t) => {
  const s = new Stream()
  s.settle({ [cluster]: { a: '1' } }, [cluster])
  t.same(s.request(cluster, { unsubscribe: ['ghost'] }), [])
})

t.test('sends nothing more of an unsubscribed name', async (t) => {
  const s = new Stream()
  s.snapshot({ [endpoint]: { a: '1' } })
  s.ack(sends(s.request(endpoint, { subscribe: ['a'] }))[0])
  s.request(endpoint, { unsubscribe: ['a'] })
  t.same(s.snapshot({ [endpoint]: { a: '2' } }), [])
})

t.test('answers an unsubscription under a wildcard: the resource, or its removal', async (t) => {
  const s = new Stream()
  s.settle({ [cluster]: { a: '1' } }, [cluster])
  s.ack(sends(s.request(cluster, { subscribe: ['a', 'none'] }))[0])
  t.same(brief(sends(s.request(cluster, { unsubscribe: ['a', 'none'] }))), ['Cluster:a@1,-none'])
})

t.test('sends only what changed', async (t) => {
  const s = new Stream()
  s.settle({ [listener]: { a: '1', b: '1', c: '1' } }, [listener])
  t.same(brief(s.snapshot({ [listener]: { a: '1', b: '2', c: '1' } })), ['Listener:b@2'])
})

t.test('sends nothing for an equal snapshot', async (t) => {
  const s = new Stream()
  s.settle({ [listener]: { a: '1' } }, [listener])
  t.same(s.snapshot({ [listener]: { a: '1' } }), [])
})

t.test('has one response of a type unanswered at most, and catches up after the ACK', async (t) => {
  const s = new Stream()
  s.request(listener)
  const [first] = s.snapshot({ [listener]: { a: '1' } })
  t.same(s.snapshot({ [listener]: { a: '2' } }), [])
  t.same(s.snapshot({ [listener]: { a: '3' } }), [])
  t.notOk(isIdle(s.state))
  const [next] = sends(s.ack(first))
  t.same(brief(next === undefined ? [] : [next]), ['Listener:a@3'])
  t.same(sends(s.ack(next)), [])
  t.ok(isIdle(s.state))
})

t.test('uses a new nonce for each response of the stream', async (t) => {
  const s = new Stream()
  s.request(cluster)
  s.request(listener)
  const sent = s.snapshot({ [cluster]: { a: '1' }, [listener]: { a: '1' } })
  t.equal(new Set(sent.map((e) => e.nonce)).size, 2)
})

t.test('tells the versions of an ACK', async (t) => {
  const s = new Stream()
  s.request(listener)
  const [sent] = s.snapshot({ [listener]: { a: '1' } })
  t.match(s.ack(sent), [{ kind: 'acked', typeUrl: listener, versions: new Map([['a', '1']]) }])
})

t.test('ignores a stale nonce as a verdict', async (t) => {
  const s = new Stream()
  s.request(listener)
  s.snapshot({ [listener]: { a: '1' } })
  t.same(s.request(listener, { nonce: '99', error: 'old' }), [])
  t.notOk(isIdle(s.state))
})

t.test('honours a subscription that comes with a stale nonce', async (t) => {
  const s = new Stream()
  s.snapshot({ [endpoint]: { a: '1' } })
  s.request(endpoint, { subscribe: ['x'] })
  s.request(endpoint, { subscribe: ['a'], nonce: '77' })
  t.ok(isSubscribed(s.state, endpoint, 'a'))
})

t.test('tells the text of a NACK', async (t) => {
  const s = new Stream()
  s.request(listener)
  const [sent] = s.snapshot({ [listener]: { a: '1' } })
  t.match(s.nack(sent, 'no such filter'), [{ kind: 'nacked', message: 'no such filter' }])
})

t.test('does not send a refused version again until it changes', async (t) => {
  const s = new Stream()
  s.settle({ [listener]: { a: '1' } }, [listener])
  t.same(sends(s.nack(s.snapshot({ [listener]: { a: '2' } })[0])), [])
  t.same(s.snapshot({ [listener]: { a: '2' }, [cluster]: { x: '1' } }), [])
  t.same(brief(s.snapshot({ [listener]: { a: '3' } })), ['Listener:a@3'])
})

t.test('sends the version before, when a refused one is taken back', async (t) => {
  const s = new Stream()
  s.settle({ [listener]: { a: '1' } }, [listener])
  s.nack(s.snapshot({ [listener]: { a: '2' } })[0])
  t.same(brief(s.snapshot({ [listener]: { a: '1' } })), ['Listener:a@1'])
})

t.test('goes on with other resources of the type after a NACK', async (t) => {
  const s = new Stream()
  s.settle({ [listener]: { a: '1', b: '1' } }, [listener])
  s.nack(s.snapshot({ [listener]: { a: '2', b: '1' } })[0])
  t.same(brief(s.snapshot({ [listener]: { a: '2', b: '2' } })), ['Listener:b@2'])
})

t.test(
  'isolating: tries each resource of a refused response alone and names the one',
  async (t) => {
    const s = new Stream(true)
    s.request(listener)
    const [all] = s.snapshot({ [listener]: { bad: '1', good: '1' } })
    const [first] = sends(s.nack(all, 'bad is bad'))
    t.same(
      first?.resources.map((r) => r.name),
      ['bad'],
    )
    const after = s.nack(first, 'bad is bad')
    t.match(after[0], { kind: 'nacked', versions: new Map([['bad', '1']]) })
    const [second] = sends(after)
    t.same(
      second?.resources.map((r) => r.name),
      ['good'],
    )
    t.match(s.ack(second), [{ kind: 'acked', versions: new Map([['good', '1']]) }])
    t.ok(isIdle(s.state))
  },
)

t.test('isolating: does not loop when all are refused', async (t) => {
  const s = new Stream(true)
  s.request(listener)
  let pending = s.snapshot({ [listener]: { a: '1', b: '1', c: '1' } })
  let count = 0
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    count++
    pending = [...pending, ...sends(s.nack(next))]
  }
  t.equal(count, 4, 'once together, once each')
})

t.test('takes back an ACK when the client thinks again, and a NACK', async (t) => {
  const s = new Stream()
  s.request(listener)
  const [sent] = s.snapshot({ [listener]: { a: '1' } })
  s.ack(sent)
  t.match(s.nack(sent, 'after all'), [{ kind: 'nacked', message: 'after all' }])
  t.match(s.ack(sent), [{ kind: 'acked' }])
  t.same(s.ack(sent), [], 'the same verdict twice says nothing')
})

t.test('publishes in make-before-break order', async (t) => {
  const s = new Stream()
  const types = [route, listener, extensionConfig, endpoint, cluster, secret]
  for (const type of types) s.request(type, { subscribe: ['*'] })
  const plain: Plain = {}
  for (const type of types) plain[type] = { x: '1' }
  t.same(
    s.snapshot(plain).map((e) => e.typeUrl),
    [secret, cluster, endpoint, extensionConfig, listener, route],
  )
})

t.test('does not send a listener ahead of clusters that still wait', async (t) => {
  const s = new Stream()
  s.request(cluster)
  s.request(listener)
  const [c1, l1] = s.snapshot({ [cluster]: { a: '1' }, [listener]: { a: '1' } })
  s.ack(l1)
  t.same(s.snapshot({ [cluster]: { a: '2' }, [listener]: { a: '2' } }), [])
  t.same(brief(sends(s.ack(c1))), ['Cluster:a@2', 'Listener:a@2'])
})

t.test('answers a question even while an earlier type waits', async (t) => {
  const s = new Stream()
  s.request(cluster)
  s.snapshot({ [cluster]: { a: '1' }, [endpoint]: { a: '1' } })
  s.snapshot({ [cluster]: { a: '2' }, [endpoint]: { a: '1' } })
  t.same(brief(sends(s.request(endpoint, { subscribe: ['a'] }))), ['ClusterLoadAssignment:a@1'])
})

t.test('removes a cluster only after its listener is gone', async (t) => {
  const s = new Stream()
  const types = [secret, cluster, endpoint, listener]
  s.settle(
    { [secret]: { x: '1' }, [cluster]: { x: '1' }, [endpoint]: { x: '1' }, [listener]: { x: '1' } },
    types,
  )
  const order: string[] = []
  let pending = s.snapshot({})
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    order.push(...brief([next]))
    t.equal(pending.length, 0, 'one at a time')
    pending = sends(s.ack(next))
  }
  t.same(order, ['Listener:-x', 'Cluster:-x', 'ClusterLoadAssignment:-x', 'Secret:-x'])
})

t.test('adds and removes listeners in one response: an address may change hands', async (t) => {
  const s = new Stream()
  s.settle({ [listener]: { old: '1' } }, [listener])
  t.same(brief(s.snapshot({ [listener]: { new: '1' } })), ['Listener:new@1,-old'])
})

t.test(
  'removes nothing of a type that has something refused: it may be what comes in its place',
  async (t) => {
    const s = new Stream()
    s.settle({ [cluster]: { old: '1' } }, [cluster])
    const [sent] = s.snapshot({ [cluster]: { new: '1' } })
    t.same(brief(sent === undefined ? [] : [sent]), ['Cluster:new@1'])
    t.same(sends(s.nack(sent)), [])
    const [again] = s.retry(cluster, ['new'])
    t.same(brief(sends(s.ack(again))), ['Cluster:-old'])
  },
)

t.test('keeps a cluster while the listener that drops it is refused', async (t) => {
  const s = new Stream()
  s.settle({ [cluster]: { x: '1' }, [listener]: { l: '1' } }, [cluster, listener])
  const [sent] = s.snapshot({ [listener]: { l: '2' } })
  t.same(sends(s.nack(sent)), [])
  const [fixed] = s.snapshot({ [listener]: { l: '3' } })
  t.same(brief(fixed === undefined ? [] : [fixed]), ['Listener:l@3'])
  t.same(brief(sends(s.ack(fixed))), ['Cluster:-x'])
})

t.test('removes what was refused and never had, since it may be half applied', async (t) => {
  const s = new Stream()
  s.request(cluster)
  s.nack(s.snapshot({ [cluster]: { a: '1' } })[0])
  const [sent] = s.snapshot({})
  t.same(brief(sent === undefined ? [] : [sent]), ['Cluster:-a'])
  s.ack(sent)
  t.same(brief(s.snapshot({ [cluster]: { a: '1' } })), ['Cluster:a@1'], 'and may come back')
})

t.test('refuses a stream that names too much', async (t) => {
  const s = new Stream()
  const subscribe = Array.from({ length: 20_001 }, (_, i) => `n${i}`)
  t.match(s.request(endpoint, { subscribe }), [{ kind: 'error', status: 'RESOURCE_EXHAUSTED' }])
  t.same(s.request(listener), [], 'and hears nothing more of it')
})

t.test('refuses a stream of too many types', async (t) => {
  const s = new Stream()
  for (let i = 0; i < 16; i++) s.request(`type/${i}`)
  t.match(s.request('type/16'), [{ kind: 'error' }])
})

t.test('answers an unknown type as empty', async (t) => {
  const s = new Stream()
  s.snapshot({ [listener]: { a: '1' } })
  t.match(s.request('type/unknown', { subscribe: ['x'] }), [{ removed: ['x'] }])
})

t.test('does nothing once closed', async (t) => {
  const s = new Stream()
  s.request(listener)
  s.close()
  t.same(s.snapshot({ [listener]: { a: '1' } }), [])
})

t.test('carries the generation as system version', async (t) => {
  const s = new Stream()
  s.request(listener)
  const plain = { [listener]: { a: '1' } }
  t.equal(s.snapshot(plain)[0]?.systemVersion, snapshotOf(plain).version)
})

t.test(
  'property: random edits and verdicts end with the client holding what is current',
  async (t) => {
    let seed = 42
    const random = (n: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
      return Math.floor((seed / 2_147_483_648) * n)
    }
    for (let round = 0; round < 50; round++) {
      const s = new Stream(round % 2 === 0)
      const types = [secret, cluster, endpoint, extensionConfig, listener]
      for (const type of types) s.request(type, { subscribe: ['*'] })
      const client = new Map(types.map((type) => [type as string, new Map<string, string>()]))
      let pending: SendEffect[] = []
      const drain = () => {
        for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
          const has = client.get(next.typeUrl)
          for (const r of next.resources) has?.set(r.name, r.version)
          for (const name of next.removed) has?.delete(name)
          pending = [...pending, ...sends(s.ack(next))]
        }
      }
      let plain: Plain = {}
      for (let edit = 0; edit < 20; edit++) {
        plain = {}
        for (const type of types)
          plain[type] = Object.fromEntries(
            ['a', 'b', 'c'].filter(() => random(2) === 0).map((n) => [n, String(random(3))]),
          )
        pending.push(...s.snapshot(plain))
        if (random(2) === 0) drain()
      }
      drain()
      for (const type of types)
        t.same(Object.fromEntries(client.get(type) ?? []), plain[type], `round ${round}`)
    }
  },
)

t.test('sends a refused version once more when told to', async (t) => {
  const s = new Stream()
  s.settle({ [listener]: { a: '1' } }, [listener])
  s.nack(s.snapshot({ [listener]: { a: '2' } })[0])
  t.same(s.retry(cluster, ['a']), [], 'not of a type that nobody asked for')
  t.same(s.retry(listener, ['b']), [], 'not what was not refused')
  t.same(brief(s.retry(listener, ['a'])), ['Listener:a@2'])
})

t.test('a wildcard that comes after names takes in everything', async (t) => {
  const s = new Stream()
  s.snapshot({ [cluster]: { a: '1', b: '1' } })
  s.ack(sends(s.request(cluster, { subscribe: ['a'] }))[0])
  t.same(brief(sends(s.request(cluster, { subscribe: ['*'] }))), ['Cluster:b@1'])
  t.same(sends(s.request(cluster, { subscribe: ['*'] })), [], 'a second time changes nothing')
})

t.test('answers a wildcard that comes late though there is nothing', async (t) => {
  const s = new Stream()
  s.snapshot({})
  s.ack(sends(s.request(listener, { subscribe: ['a'] }))[0])
  t.match(sends(s.request(listener, { subscribe: ['*'] })), [{ resources: [], removed: [] }])
})

t.test('a changed cluster is followed by its endpoints, unchanged as they are', async (t) => {
  const stream = new Stream()
  stream.snapshot({ [cluster]: { a: 'c1', b: 'c1' }, [endpoint]: { a: 'e1', b: 'e1' } })
  const [clusters] = sends(stream.request(cluster))
  const [endpoints] = sends(stream.request(endpoint, { subscribe: ['a', 'b'] }))
  stream.ack(clusters)
  stream.ack(endpoints)
  const changed = stream.snapshot({
    [cluster]: { a: 'c2', b: 'c1' },
    [endpoint]: { a: 'e1', b: 'e1' },
  })
  t.same(
    changed.map(({ typeUrl, resources }) => [typeUrl, resources.map((r) => r.name)]),
    [
      [cluster, ['a']],
      [endpoint, ['a']],
    ],
  )
})

t.test('a version that comes back while another one is out is sent again', async (t) => {
  const stream = new Stream()
  stream.snapshot({ [cluster]: { a: 'c1' } })
  const [first] = sends(stream.request(cluster))
  stream.ack(first)
  const [second] = stream.snapshot({ [cluster]: { a: 'c2' } })
  t.same(stream.snapshot({ [cluster]: { a: 'c1' } }), [], 'the client has not answered yet')
  const [third] = sends(stream.ack(second))
  t.same(
    third?.resources.map((r) => r.version),
    ['c1'],
  )
})
