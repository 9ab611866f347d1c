/**
 * Who may listen where: two listeners on one address and port would take each other's traffic, and one that stands
 * where an app stands would be called in its place. The older object keeps the port.
 * Workloads of one address are on one machine; all of loopback is one machine, elsewhere 127.0.0.1 is its own.
 */
import type { Problem } from '../../../common/errors.ts'
import { canonicalAddress, isLoopback } from './address.ts'
import { refOf } from './objects.ts'
import type { WorkloadDraft } from './workload-entry.ts'

export interface PortClaims {
  /** Fields of ports that must not be programmed: `<namespace>/<name> spec.inbound[0]`. */
  readonly refused: ReadonlySet<string>
  readonly problems: readonly Problem[]
}

interface Claim {
  readonly use: 'listen' | 'app'
  readonly draft: WorkloadDraft
  /** The port's item, `spec.outbound[2]`. */
  readonly item: string
  readonly field: string
  /** What must be free: place on a machine, or name among the workload's listeners. */
  readonly keys: readonly string[]
  readonly words: string
}

/** Settles claims in the order of `drafts` (oldest first). */
export function settlePorts(drafts: readonly WorkloadDraft[]): PortClaims {
  const held = new Map<string, Claim>()
  const refused = new Set<string>()
  const problems: Problem[] = []
  for (const claim of drafts.flatMap(readClaims)) {
    const other = claim.keys.map((key) => held.get(key)).find((c) => conflicts(claim, c))
    if (other !== undefined) {
      refused.add(refusedKey(claim.draft, claim.item))
      problems.push(conflict(claim, other))
    } else for (const key of claim.keys) if (!held.has(key)) held.set(key, claim)
  }
  return { refused, problems }
}

export function refusedKey(draft: WorkloadDraft, item: string): string {
  return `${draft.namespace}/${draft.name} ${item}`
}

/** Two workloads may share an app; nothing else is shared. */
function conflicts(claim: Claim, other: Claim | undefined): boolean {
  return other !== undefined && (claim.use === 'listen' || other.use === 'listen')
}

function readClaims(draft: WorkloadDraft): readonly Claim[] {
  const machine = isLoopback(draft.address) ? 'loopback' : draft.address
  const place = (address: string, port: number) => `${machine} ${address} ${port}`
  const listens = draft.inbound.map((p): Claim => {
    const item = `spec.inbound[${p.index}]`
    const keys = [place(p.address, p.port)]
    return {
      use: 'listen',
      draft,
      item,
      field: `${item}.port`,
      keys,
      words: `${p.address}:${p.port}`,
    }
  })
  const outbound = (draft.spec.outbound ?? []).map((p, i): Claim => {
    const item = `spec.outbound[${i}]`
    const address = canonicalAddress(p.address) ?? p.address
    // The second key: listeners are named by port, so a workload has one outbound listener per port.
    const keys = [place(address, p.port), `${draft.namespace}/${draft.name} outbound ${p.port}`]
    return {
      use: 'listen',
      draft,
      item,
      field: `${item}.port`,
      keys,
      words: `${address}:${p.port}`,
    }
  })
  const apps = draft.inbound.map((p): Claim => {
    const item = `spec.inbound[${p.index}]`
    const keys = [place(p.appAddress, p.appPort)]
    const words = `${p.appAddress}:${p.appPort}`
    return { use: 'app', draft, item, field: `${item}.appPort`, keys, words }
  })
  return [...listens, ...outbound, ...readCapture(draft, place), ...apps]
}

/** Where captured connections come in. */
export function captureAddress({ address, capturedBy }: WorkloadDraft): string {
  return capturedBy !== undefined && address.includes(':') ? '::1' : '127.0.0.1'
}
export const CAPTURE_FIELD = 'spec.capture'

function readCapture(
  draft: WorkloadDraft,
  place: (address: string, port: number) => string,
): readonly Claim[] {
  const port = draft.spec.capture?.outboundPort
  if (port === undefined) return []
  return [
    {
      use: 'listen',
      draft,
      item: CAPTURE_FIELD,
      field: `${CAPTURE_FIELD}.outboundPort`,
      keys: [place(captureAddress(draft), port)],
      words: `${captureAddress(draft)}:${port}`,
    },
  ]
}

function conflict(claim: Claim, other: Claim): Problem {
  const { namespace, name } = other.draft
  const holder =
    claim.draft === other.draft ? 'this workload' : `WorkloadEntry ${namespace}/${name}`
  return {
    code: 'ERR_PORT_CONFLICT',
    object: refOf(claim.draft.object),
    field: claim.field,
    message: `${claim.words} is already used by ${holder} (${other.field})`,
    remedy: 'choose a port that no other listener or app uses',
  }
}
