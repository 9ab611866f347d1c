/** Equal content makes an equal generation, whatever the order; any difference makes another. */
import t from 'tap'
import { TYPE_URLS } from '../../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../../common/xds-snapshot.ts'

const a = toXdsResource('a', Buffer.from('1'))
const b = toXdsResource('b', Buffer.from('1'))

t.test('order of resources and types does not matter', async (t) => {
  const one = toXdsSnapshot(
    new Map([
      [TYPE_URLS.cluster, [a, b]],
      [TYPE_URLS.listener, [a]],
    ]),
  )
  const two = toXdsSnapshot(
    new Map([
      [TYPE_URLS.listener, [a]],
      [TYPE_URLS.cluster, [b, a]],
    ]),
  )
  t.equal(one.version, two.version)
  t.match(one.version, /^[0-9a-f]{16}$/)
})

t.test('a name, a version and a type each make a difference', async (t) => {
  const versions = [
    new Map([[TYPE_URLS.cluster, [a]]]),
    new Map([[TYPE_URLS.cluster, [b]]]),
    new Map([[TYPE_URLS.listener, [a]]]),
    new Map([[TYPE_URLS.cluster, [toXdsResource('a', Buffer.from('2'))]]]),
    new Map(),
  ].map((resources) => toXdsSnapshot(resources).version)
  t.equal(new Set(versions).size, versions.length)
})

t.test('an empty type is no type', async (t) => {
  t.equal(
    toXdsSnapshot(new Map([[TYPE_URLS.cluster, []]])).version,
    toXdsSnapshot(new Map()).version,
  )
})
