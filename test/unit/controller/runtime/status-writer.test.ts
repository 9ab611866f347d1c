/** Who writes which status, and what becomes of one that can't be written. */
import t from 'tap'
import type { PosternObject } from '../../../../controller/core/crd/index.ts'
import type { StatusValue } from '../../../../controller/core/status/status-write.ts'
import { StatusWriter } from '../../../../controller/runtime/status-writer.ts'
import { makePolicy } from '../../../kit/objects.ts'
import { waitFor } from '../../../kit/wait.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

function refused(name: string): PosternObject {
  const conditions = [
    { type: 'Accepted', status: 'False', reason: 'R', message: name, lastTransitionTime: '' },
  ]
  return { ...makePolicy(name), status: { conditions } } as unknown as PosternObject
}

function makeWriter(names: readonly string[], failing: Set<string> = new Set()) {
  const written: string[] = []
  const told: string[] = []
  const there = new Map<string, StatusValue>(names.map((name) => [name, {}]))
  const lease = { isMine: true }
  const writer = new StatusWriter({
    objects: () => new Map(names.map((name) => [name, refused(name)])),
    sink: {
      statusOf: ({ metadata }) => there.get(metadata.name),
      write: async ({ metadata: { name } }) => {
        if (failing.has(name)) throw new Error('no')
        written.push(name)
        return name !== 'gone'
      },
      tell: async ({ metadata }) => void told.push(metadata.name),
    },
    isLeader: () => lease.isMine,
    log: silent,
  })
  return { writer, written, told, there, lease }
}

t.test('each once, though what is there is seen late', async (t) => {
  const { writer, written, told } = makeWriter(['a', 'b'])
  writer.touch()
  await waitFor(() => told.length === 2)
  writer.touch()
  await writer.stop()
  t.same(written, ['a', 'b'])
  t.same(told, ['a', 'b'])
})

t.test('nothing by who does not lead', async (t) => {
  const { writer, written, lease } = makeWriter(['a'])
  lease.isMine = false
  writer.touch()
  await writer.stop()
  t.same(written, [])
})

t.test('one that fails keeps no other from it, and is tried again', async (t) => {
  const failing = new Set(['a'])
  const { writer, written, told } = makeWriter(['a', 'b', 'gone'], failing)
  writer.touch()
  await waitFor(() => written.includes('b'))
  failing.clear()
  await waitFor(() => written.includes('a'))
  await writer.stop()
  t.same(told.sort(), ['a', 'b'], 'of what is gone nobody is told')
})
