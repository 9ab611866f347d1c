/**
 * Where cgroups are mounted, on machines of both kinds and on one that has both.
 */
import t from 'tap'
import { hierarchiesIn } from '../../../../scripts/cluster/host.ts'

t.test('finds the hierarchies of a hybrid machine', async (t) => {
  const text = `25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpuset rw,relatime shared:9 - cgroup cgroup rw,cpuset
27 25 0:24 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
28 25 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
  t.match(hierarchiesIn(text), [
    { path: '/sys/fs/cgroup/cpuset', isUnified: false },
    { path: '/sys/fs/cgroup/systemd', isUnified: false },
    { path: '/sys/fs/cgroup/unified', isUnified: true },
  ])
  t.ok(hierarchiesIn(text)[0]?.controllers.includes('cpuset'))
})

t.test('finds the one of a unified machine', async (t) => {
  const text = '30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n'
  t.match(hierarchiesIn(text), [{ path: '/sys/fs/cgroup', isUnified: true }])
  t.equal(hierarchiesIn(text).length, 1)
})
