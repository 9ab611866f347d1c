/**
 * `make proof`: every drill at the length that its issue states, the result written to docs/proof.md with commit and
 * machine. Exit 1 when one claim doesn't hold. `DRILLS=churn,shop` runs only those and writes nothing.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import os from 'node:os'
import { fileURLToPath } from 'node:url'
import { type Stack, type StackOptions, startStack } from '../demo/stack.ts'
import { openWork } from '../demo/work.ts'
import { drillAlerts } from './alerts.ts'
import { drillAway } from './away.ts'
import { CHURN_STACK, drillChurn } from './churn.ts'
import { drillDifferential } from './differential.ts'
import { drillRegoEdit, drillRulesEdit } from './edit.ts'
import { drillExplain, EXPLAIN_STACK } from './explain.ts'
import { drillEndlessPolicy, drillOnePackage } from './hostile.ts'
import { drillOutage } from './outage.ts'
import { drillRenewal, withShortSvids } from './renewal.ts'
import type { DrillReport } from './report.ts'
import { drillSkew } from './skew.ts'
import { drillStranger } from './stranger.ts'
import { drillTransport, TRANSPORT_STACK } from './transport.ts'
import { withVersion } from './versions.ts'
import { drillXdsFuzz } from './xds-fuzz.ts'

const RESULT = fileURLToPath(new URL('../docs/proof.md', import.meta.url))
/** Beside a demo that is kept up. */
const PORT_OFFSET = 1000

/** Starts a stack, runs the drill on it, and takes all of it away again. */
export async function onStack(
  options: Omit<StackOptions, 'work'>,
  drill: (stack: Stack) => Promise<readonly DrillReport[]>,
): Promise<readonly DrillReport[]> {
  const work = await openWork('drill')
  let stack: Stack | undefined
  try {
    stack = await startStack({ ...options, work: work.path })
    return await drill(stack)
  } finally {
    await stack?.stop()
    const kept = await work.end()
    if (kept !== undefined) process.stdout.write(`logs are kept in ${kept}\n`)
  }
}

function formatReport(report: DrillReport): string {
  const rows = report.claims.map((c) => `| ${c.holds ? '✓' : '✗'} | ${c.text} | ${c.seen} |`)
  return `## ${report.name}\n\n| | claim | seen |\n| --- | --- | --- |\n${rows.join('\n')}\n`
}

function machine(): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  const day = new Date().toISOString().slice(0, 10)
  return `Commit ${commit}, ${day}, ${os.cpus().length} × ${os.cpus()[0]?.model ?? 'CPU'}, ${os.type()} ${os.release()}, Node ${process.versions.node}.`
}

/** How long the trials are; the defaults are what the issues state. */
const LENGTHS = {
  rounds: Number(process.env.ROUNDS ?? 10),
  renewals: Number(process.env.RENEWALS ?? 6),
  churnSeconds: Number(process.env.CHURN_SECONDS ?? 600),
  /** Written to xDS servers (issue 5, Shows 1). */
  messages: Number(process.env.MESSAGES ?? 100_000),
  /** Requests to random rule sets (issue 5, Shows 4). */
  pairs: Number(process.env.PAIRS ?? 52_000),
  /** Explained and made (issue 5, Shows 9). */
  explained: Number(process.env.EXPLAINED ?? 1000),
  seed: Number(process.env.SEED ?? 1),
}

type Lengths = typeof LENGTHS

/** Every trial by the name that `DRILLS` knows; each brings what it needs up and takes it away again. */
const TRIALS: Readonly<Record<string, (lengths: Lengths) => Promise<readonly DrillReport[]>>> = {
  shop: ({ rounds }) =>
    onStack({ portOffset: PORT_OFFSET }, async (stack) => [
      await drillRulesEdit(stack, rounds),
      await drillRegoEdit(stack, rounds),
      await drillOnePackage(stack),
      await drillStranger(stack),
      await drillOutage(stack, Math.max(1, Math.floor(rounds / 3))),
    ]),
  renewal: ({ renewals }) =>
    onStack({ portOffset: PORT_OFFSET, edit: withShortSvids }, async (stack) => [
      await drillRenewal(stack, renewals),
      await drillEndlessPolicy(stack),
      await drillAway(stack),
    ]),
  transport: () =>
    onStack(
      { ...TRANSPORT_STACK, portOffset: PORT_OFFSET, edit: withShortSvids },
      async (stack) => [await drillTransport(stack)],
    ),
  alerts: () =>
    onStack({ portOffset: PORT_OFFSET, edit: withShortSvids }, async (stack) => [
      await drillAlerts(stack, 'full'),
    ]),
  churn: ({ churnSeconds, seed }) =>
    onStack({ ...CHURN_STACK, portOffset: PORT_OFFSET }, async (stack) => [
      await drillChurn(stack, { seconds: churnSeconds, seed }),
    ]),
  xds: ({ messages, seed }) =>
    onStack({ portOffset: PORT_OFFSET }, async (stack) => [
      await drillXdsFuzz(stack, { count: messages, seed }),
    ]),
  skew: () =>
    withVersion('0.1', (old) =>
      onStack({ portOffset: PORT_OFFSET, programs: { 'shop/orders': old } }, async (stack) => [
        await drillSkew(stack),
      ]),
    ),
  explain: ({ explained, seed }) =>
    onStack({ ...EXPLAIN_STACK, portOffset: PORT_OFFSET }, async (stack) => [
      await drillExplain(stack, { count: explained, seed }),
    ]),
  differential: async ({ pairs }) => [await drillDifferential(pairs)],
}

/** The trials that `DRILLS` names, separated by commas; all without it. Errors: a name that is none. */
function chosen(names: string | undefined): readonly string[] {
  const list = names?.split(',').filter((name) => name !== '') ?? Object.keys(TRIALS)
  const unknown = list.find((name) => !(name in TRIALS))
  if (unknown === undefined) return list
  throw new Error(`DRILLS: ${unknown} is none of ${Object.keys(TRIALS).join(', ')}`)
}

if (import.meta.main) {
  const reports: DrillReport[] = []
  for (const name of chosen(process.env.DRILLS)) {
    for (const report of (await TRIALS[name]?.(LENGTHS)) ?? []) {
      process.stdout.write(`${formatReport(report)}\n`)
      reports.push(report)
    }
  }
  const text = `# Proof\n\nWritten by \`make proof\`. ${machine()}\n\n${reports.map(formatReport).join('\n')}`
  if (process.env.DRILLS === undefined) writeFileSync(RESULT, text)
  process.exitCode = reports.every((r) => r.claims.every((c) => c.holds)) ? 0 : 1
}
