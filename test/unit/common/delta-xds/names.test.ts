/** A set as a value that is cheap to change, and what it is for: a request costs what it names, not what was named. */
import t from 'tap'
import { Names } from '../../../../common/delta-xds/names.ts'
import {
  changeSubscription,
  firstSubscription,
  type SubscriptionChange,
} from '../../../../common/delta-xds/subscription.ts'

t.test('each value keeps what it had', async (t) => {
  const ab = Names.of(['a', 'b'])
  const abc = ab.with('c')
  const bc = abc.without('a')
  const bcd = bc.with('d')
  const fork = abc.with('x')
  t.same([...ab].sort(), ['a', 'b'])
  t.same([...abc].sort(), ['a', 'b', 'c'])
  t.same([...bc].sort(), ['b', 'c'])
  t.same([...bcd].sort(), ['b', 'c', 'd'])
  t.same([...fork].sort(), ['a', 'b', 'c', 'x'])
  t.equal(ab.with('a'), ab)
  t.equal(ab.without('z'), ab)
  t.match([ab.size, ab.has('c'), abc.has('c')], [2, false, true])
  t.same([...bcd.filter((name) => name !== 'c')].sort(), ['b', 'd'])
})

t.test('a request about one of many names copies none of the others', async (t) => {
  const change = (part: Partial<SubscriptionChange>): SubscriptionChange => ({
    subscribe: [],
    unsubscribe: [],
    initialVersions: new Map(),
    ...part,
  })
  const many = Array.from({ length: 1000 }, (_, i) => `n${i}`)
  const initialVersions = new Map(many.map((name) => [name, '1']))
  const first = firstSubscription(change({ subscribe: many, initialVersions }))
  // Whoever reads a set as a whole, reads it by its iterator.
  let reads = 0
  const iterate = Names.prototype[Symbol.iterator]
  Names.prototype[Symbol.iterator] = function () {
    reads += 1
    return iterate.call(this)
  }
  t.teardown(() => {
    Names.prototype[Symbol.iterator] = iterate
  })
  const again = changeSubscription(first, change({ subscribe: ['n1'] }))
  t.equal(again.held, first.held)
  t.ok(again.asked.has('n1'))
  t.equal(changeSubscription(again, change({ subscribe: ['n1'] })).asked, again.asked)
  t.equal(changeSubscription(again, change({ unsubscribe: ['other'] })).held, again.held)
  const left = changeSubscription(again, change({ unsubscribe: ['n1'] }))
  t.notOk(left.held.has('n1'))
  t.notOk(left.asked.has('n1'))
  t.equal(left.names.size, 999)
  t.equal(reads, 0)
})
