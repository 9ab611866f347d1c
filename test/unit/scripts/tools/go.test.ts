/**
 * Go versions compare by number, not by text; what Go compiles stays out of the user's cache.
 */
import t from 'tap'
import { buildEnvironment, isOlder } from '../../../../scripts/tools/go.ts'

t.test('compares versions part by part', async (t) => {
  t.ok(isOlder('1.9', '1.26.8'))
  t.ok(isOlder('1.26.7', '1.26.8'))
  t.ok(isOlder('1.26', '1.26.1'))
  t.notOk(isOlder('1.26.8', '1.26.8'))
  t.notOk(isOlder('1.27rc1', '1.26.8'))
  t.notOk(isOlder('2.0', '1.99'))
})

t.test('compiles into the work folder, unless the user names a cache', async (t) => {
  t.equal(buildEnvironment('/work', {}).GOCACHE, '/work/go-build')
  t.equal(buildEnvironment('/work', { GOCACHE: '' }).GOCACHE, '/work/go-build')
  t.equal(buildEnvironment('/work', { GOCACHE: '/mine' }).GOCACHE, '/mine')
})
