/**
 * What the admin socket answers beside objects, part of the composition root: who is connected and how far, what is
 * published, what a proxy really has, who decided, and what an explanation is made of.
 */
import type { Clock } from '../common/clock.ts'
import type { DecisionRecord } from '../common/decision.ts'
import { MeshError } from '../common/errors.ts'
import type { AdminOptions } from './adapters/http/admin.ts'
import type { Entrance } from './entrance.ts'
import { toGrounds } from './runtime/grounds.ts'
import type { History } from './runtime/history.ts'
import { toLanes } from './runtime/lanes-view.ts'
import { toOverview } from './runtime/proxy-overview.ts'
import { stateOfUnknown } from './runtime/proxy-table.ts'
import type { Reconciler } from './runtime/reconcile.ts'
import type { StatusBoard } from './runtime/status-board.ts'

export interface ViewParts {
  readonly entrance: Entrance
  readonly reconciler: Reconciler
  readonly board: StatusBoard
  readonly history: History
  readonly clock: Clock
}

export function createViews(parts: ViewParts): AdminOptions['views'] {
  const { board } = parts
  return {
    proxies: () => ({ items: overviews(parts) }),
    published: () => board.published(),
    config: ([namespace, name, section = 'all']) => {
      const nodeId = nodeOf(parts, `${namespace}/${name}`)
      return parts.entrance.ask(nodeId, { case: 'config', value: { section } })
    },
    decisions: ([id = '']) => findDecision(parts, id),
    grounds: ([namespace, name]) => groundsOf(parts, `${namespace}/${name}`),
    lanes: ([namespace, name]) => toLanes(parts.history, `${namespace}/${name}`),
    workloads: ([namespace, name]) => {
      const given = parts.history.newest(nodeOf(parts, `${namespace}/${name}`))
      return given && { workload: `${namespace}/${name}`, spiffeId: given.workload.spiffeId }
    },
  }
}

function groundsOf(parts: ViewParts, workload: string) {
  const { history, board, reconciler } = parts
  const nodeId = nodeOf(parts, workload)
  const view = reconciler.view()
  if (view === undefined) return undefined
  const state = board.proxies().find((p) => p.nodeId === nodeId)
  return toGrounds(nodeId, { history, state, view })
}

/** Errors: ERR_WORKLOAD_NOT_FOUND. */
function nodeOf({ history }: ViewParts, workload: string): string {
  const nodeId = history.nodeOf(workload)
  if (nodeId !== undefined) return nodeId
  throw new MeshError('ERR_WORKLOAD_NOT_FOUND', `there is no workload ${workload}`)
}

interface Search {
  readonly nodeId: string
  readonly record?: unknown
  /** Why it may be in that proxy's log all the same. */
  readonly limit?: string
}

/** Sidecars that are asked at once. */
const ASKED_AT_ONCE = 16

/** The record of the decision, of whichever connected sidecar has it; else whom nobody could ask, and why. */
async function findDecision({ entrance, board }: ViewParts, id: string): Promise<unknown> {
  const connected = board.proxies().filter((p) => p.connected)
  const limits: Search[] = []
  for (let at = 0; at < connected.length; at += ASKED_AT_ONCE) {
    const some = connected.slice(at, at + ASKED_AT_ONCE)
    const answers = await Promise.all(some.map(({ nodeId }) => searchOne(entrance, nodeId, id)))
    const found = answers.find((a) => a.record !== undefined)
    if (found !== undefined) return found
    limits.push(...answers.filter((a) => a.limit !== undefined))
  }
  return { record: null, asked: connected.length, limits }
}

/** A sidecar speaks for its own workload only, and to the question. */
function isOwn(record: unknown, nodeId: string, id: string): boolean {
  const { decision_id: own, labels } = (record ?? {}) as Partial<DecisionRecord>
  return own === id && nodeId.startsWith(`${labels?.namespace}/${labels?.workload}/`)
}

async function searchOne(entrance: Entrance, nodeId: string, id: string): Promise<Search> {
  try {
    const question = { case: 'decision' as const, value: { decisionId: id } }
    const answer = await entrance.ask(nodeId, question)
    const { record, limit } = answer as { record: unknown; limit?: string }
    if (record !== null && isOwn(record, nodeId, id)) return { nodeId, record }
    if (record !== null) return { nodeId, limit: 'it answered with a record that is not its own' }
    return limit === undefined ? { nodeId } : { nodeId, limit }
  } catch (error) {
    // One who asks for what is no id is told so, whoever says it.
    if (error instanceof MeshError && error.code === 'ERR_CONFIG') throw error
    return { nodeId, limit: error instanceof Error ? error.message : String(error) }
  }
}

/** Every workload's proxy, also those that never were connected. Sorted by node id. */
function overviews({ entrance, board, history, clock }: ViewParts) {
  const sync = entrance.sync()
  const nowMs = clock.now()
  const states = new Map(board.proxies().map((state) => [state.nodeId, state]))
  return [...new Set([...states.keys(), ...history.nodes()])].sort().map((nodeId) =>
    toOverview(states.get(nodeId) ?? stateOfUnknown(nodeId), history.newest(nodeId), {
      sync: sync.get(nodeId) ?? [],
      nowMs,
    }),
  )
}
