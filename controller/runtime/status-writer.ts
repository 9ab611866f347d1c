/**
 * Writes each object's status to where the object is, when it differs from what is there, and tells the user by an Event
 * what was refused. Only the leader writes. Level, not edge: each run compares all; what fails is tried again.
 */
import type { ObjectKey } from '../core/accept/objects.ts'
import type { Condition, PosternObject } from '../core/crd/index.ts'
import { newRefusal, planStatus, type StatusValue } from '../core/status/status-write.ts'
import type { Log } from './ports.ts'
import { Queue } from './queue.ts'

/** Where statuses are written. */
export interface StatusSink {
  /** What is there now; undefined: the object is not, or not known yet. */
  statusOf(object: PosternObject): StatusValue | undefined
  /** Resolves with false when the object is gone, or another by now. Throws MeshError. */
  write(object: PosternObject, status: StatusValue, signal: AbortSignal): Promise<boolean>
  /** An Event about the object. Throws MeshError. */
  tell(object: PosternObject, condition: Condition, signal: AbortSignal): Promise<void>
}

export interface StatusWriterOptions {
  readonly objects: () => ReadonlyMap<ObjectKey, PosternObject>
  readonly sink: StatusSink
  readonly isLeader: () => boolean
  readonly log: Log
}

interface Written {
  /** What was there when it was written: as long as that is seen, the sink has not caught up. */
  readonly seen: StatusValue
  readonly status: StatusValue
}

export class StatusWriter {
  readonly #options: StatusWriterOptions
  readonly #queue: Queue
  readonly #written = new Map<ObjectKey, Written>()

  constructor(options: StatusWriterOptions) {
    this.#options = options
    this.#queue = new Queue({ run: (signal) => this.#run(signal), log: options.log })
  }

  /** A status may have changed, or the leader. */
  touch(): void {
    this.#queue.request()
  }

  stop(): Promise<void> {
    return this.#queue.stop()
  }

  async #run(signal: AbortSignal): Promise<{ requeueAfterMs?: number }> {
    const { objects, isLeader } = this.#options
    const all = objects()
    for (const key of this.#written.keys()) if (!all.has(key)) this.#written.delete(key)
    const failures: unknown[] = []
    for (const [key, object] of all) {
      signal.throwIfAborted()
      // Asked before each: who lost the lease meanwhile writes nothing more.
      if (!isLeader()) return {}
      // One that can't be written must not keep the others from it.
      await this.#writeOne(key, object, signal).catch((error: unknown) => failures.push(error))
    }
    if (failures.length > 0) throw failures[0]
    return {}
  }

  async #writeOne(key: ObjectKey, object: PosternObject, signal: AbortSignal): Promise<void> {
    const { sink } = this.#options
    const seen = sink.statusOf(object)
    if (seen === undefined || object.status === undefined) return
    const last = this.#written.get(key)
    const there = last?.seen === seen ? last.status : seen
    const next = planStatus(object.status as unknown as StatusValue, there)
    if (next === undefined) return
    if (!(await sink.write(object, next, signal))) return
    this.#written.set(key, { seen, status: next })
    const refusal = newRefusal(next, there)
    if (refusal === undefined) return
    // The condition says the same, and stays: an Event is told once, or not at all.
    await sink.tell(object, refusal, signal).catch((err: unknown) => {
      this.#options.log.warn({ err, object: key }, 'an Event could not be written')
    })
  }
}
