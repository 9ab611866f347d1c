/** The init container's rules in the real nft: they load, and load again to the same, with every exception. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { t } from 'tap'
import { CAPTURE_ALL } from '../../controller/core/inject/capture.ts'
import { toNftRuleset } from '../../controller/core/inject/nft.ts'
import { startNetns, whyNoNetns } from '../kit/netns.ts'

const skip = whyNoNetns()
if (skip !== undefined) process.stderr.write(`SKIPPED: inject-nft.test.ts ${skip}\n`)
const UNPACKED = join(import.meta.dirname, '../../.tools/nft')

t.test('rules load again and again', { skip: skip ?? false }, async (t) => {
  const netns = await startNetns(t, ['10.0.0.1'])
  const list = () => {
    const nft = existsSync(UNPACKED) ? UNPACKED : 'nft'
    const [command = '', ...rest] = [...netns.prefix, nft, 'list', 'ruleset']
    return execFileSync(command, rest).toString()
  }
  netns.nft(toNftRuleset(CAPTURE_ALL))
  const first = list()
  netns.nft(toNftRuleset(CAPTURE_ALL))
  t.equal(list(), first)
  netns.nft(
    toNftRuleset({
      excludedInboundPorts: [9100, 15020],
      excludedOutboundPorts: [53, 5432],
      excludedOutboundCidrs: ['10.0.0.0/8', 'fd00::/64'],
    }),
  )
  t.match(list(), /tcp dport \{ 9100, 15020 \} return(?:.|\n)*tcp dport \{ 53, 5432 \} return/)
  t.match(list(), /ip daddr 10\.0\.0\.0\/8 return\n\s*ip6 daddr fd00::\/64 return/)
  netns.nft(toNftRuleset(CAPTURE_ALL))
  t.equal(list(), first, 'and nothing of others stays')
})
