/**
 * What a rule of delta xDS is, as data: a number, what it demands, where that stands, and how a server is tried. The
 * rules are the table behind docs/reference/xds.md, and run against the controller and the sidecar alike.
 */
import type { Test } from 'tap'
import { brief, type ShortType, XdsStream } from '../../kit/xds-stream.ts'
import type { Plain, Target } from '../../kit/xds-targets.ts'

export interface Rule {
  /** What the server does, as one sentence without a full stop. */
  readonly title: string
  /** An anchor of the xDS protocol's page, a message of discovery.proto, or `Postern`. */
  readonly anchor: string
  /** What it says there. */
  readonly sentence: string
  /** Absent: both servers. */
  readonly only?: Target['name']
  readonly run: (world: World) => Promise<void>
}

/** One rule at one server. */
export class World {
  readonly t: Test
  readonly target: Target
  readonly #streams: XdsStream[] = []

  constructor(t: Test, target: Target) {
    this.t = t
    this.target = target
  }

  publish(plain: Plain): void {
    this.target.publish(plain)
  }

  /** A stream of the entitled peer, or of another one. */
  async open(as?: 'own' | 'nobody' | 'other', method?: string): Promise<XdsStream> {
    const stream = new XdsStream(await this.target.connect(as), method)
    this.#streams.push(stream)
    return stream
  }

  /** A stream that wants everything of these types and has ACKed it. */
  async settled(...types: readonly ShortType[]): Promise<XdsStream> {
    const stream = await this.open()
    for (const type of types) stream.send({ type, subscribe: ['*'] })
    await stream.drained()
    return stream
  }

  /** Nothing is to be said. */
  async isSilent(stream: XdsStream, why: string): Promise<void> {
    this.t.same((await stream.rest()).flatMap(brief), [], why)
  }

  async close(): Promise<void> {
    for (const { call } of this.#streams) call.cancel()
  }
}

export function defineRules(
  section: string,
  rules: readonly Rule[],
): { readonly section: string; readonly rules: readonly Rule[] } {
  return { section, rules }
}
