import t from 'tap'
import { siblingModule } from '../../../common/sibling.ts'

t.test('a sibling has the extension of who asks', async (t) => {
  t.equal(siblingModule('../../worker', 'file:///a/b/c/d.ts').href, 'file:///a/worker.ts')
  t.equal(siblingModule('./e.thread', 'file:///a/b.c/d.js').href, 'file:///a/b.c/e.thread.js')
})
