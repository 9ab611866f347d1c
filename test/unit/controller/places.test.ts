import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { preparePlaces } from '../../../controller/places.ts'

function makePlaces(dir: string) {
  const places = { manifests: join(dir, 'mesh'), state: join(dir, 'state'), opa: join(dir, 'opa') }
  mkdirSync(places.manifests)
  writeFileSync(places.opa, '#!/bin/sh\n', { mode: 0o755 })
  return places
}

t.test('a first start with a typo is refused, with every mistake', async (t) => {
  const places = makePlaces(t.testdir())
  await preparePlaces(places)
  const wrong = { ...places, manifests: `${places.manifests}x`, opa: `${places.opa}x` }
  await t.rejects(preparePlaces(wrong), {
    code: 'ERR_CONFIG',
    message: /^--manifests .*meshx: there is no such folder.*\n--opa .*opax: there is no program/,
  })
  await t.rejects(preparePlaces({ ...places, manifests: places.opa }), { message: /is no folder/ })
  chmodSync(places.opa, 0o644)
  await t.rejects(preparePlaces(places), {
    message: /--opa .* there is no program that can be run/,
  })
})

t.test('with a last good to serve, it starts whatever became of manifests and opa', async (t) => {
  const places = makePlaces(t.testdir())
  mkdirSync(join(places.state, 'generations'), { recursive: true, mode: 0o700 })
  writeFileSync(join(places.state, 'generations', '000000000007.json'), '')
  await preparePlaces({ ...places, manifests: '/nowhere/mesh', opa: '/nowhere/opa' })
})

t.test('state among the manifests is refused, unless its name hides it', async (t) => {
  const places = makePlaces(t.testdir())
  const { manifests } = places
  const refused = { code: 'ERR_CONFIG', message: /lies in the folder of --manifests/ }
  await t.rejects(preparePlaces({ ...places, state: join(manifests, 'ctl') }), refused)
  await t.rejects(preparePlaces({ ...places, state: join(manifests, 'a/b') }), refused)
  await preparePlaces({ ...places, state: join(manifests, '.postern') })
  await preparePlaces({ ...places, state: join(manifests, '.run/ctl') })
  await preparePlaces({ ...places, state: `${manifests}-state` })
  const link = join(manifests, '../link')
  symlinkSync(join(manifests, 'ctl'), link)
  await t.rejects(preparePlaces({ ...places, state: link }), refused, 'where a link leads counts')
  chmodSync(manifests, 0o700)
  await t.rejects(preparePlaces({ ...places, state: manifests }), refused, 'the folder itself')
})

t.test('a state directory that others may enter is refused', async (t) => {
  const places = makePlaces(t.testdir())
  mkdirSync(places.state)
  chmodSync(places.state, 0o750)
  await t.rejects(preparePlaces(places), { code: 'ERR_CONFIG', message: /chmod 700/ })
})
