/**
 * Envoy's access log → the decision log, in the main thread. The request is over when its entry comes, so that nothing
 * can be refused any more: what can't be written is counted and said, never dropped in silence (DESIGN §1.4).
 * And → the access log, as far as the mesh wants one.
 */
import type { LogLimit } from '../../common/log-limit.ts'
import { toAccessRecord } from '../core/access-log/record.ts'
import { type AccessLogEntry, fromAccessLogEntry } from '../core/decision-log/access-log.ts'
import {
  type DecisionFacts,
  type LogLabels,
  toDecisionRecord,
} from '../core/decision-log/record.ts'
import type { DecisionLog } from './check-ports.ts'
import type { SupervisedCheckWorker } from './check-worker.ts'
import type { DecisionTally } from './decision-tally.ts'
import type { Log } from './xds-ports.ts'

export interface AccessLogRecorderOptions {
  readonly worker: Pick<
    SupervisedCheckWorker,
    'activeSet' | 'activeRevision' | 'wasRecorded' | 'whyNoAnswer'
  >
  readonly decisionLog: DecisionLog
  /** Absent: none is written. */
  readonly accessLog?: DecisionLog
  readonly labels: LogLabels
  readonly tally: Pick<DecisionTally, 'count'>
  readonly newId: () => string
  /** Of the lines about what is lost: who calls must not fill the log, and the numbers are counted. */
  readonly limit: Pick<LogLimit, 'take'>
  readonly log: Log
}

export interface AccessLogRecorder {
  /** Records the entry if it is a decision of Envoy's. Never throws. */
  record(entry: AccessLogEntry): void
  /** Decisions that could not be written. */
  lost(): number
  /** Of the access log. */
  access(): { readonly written: number; readonly lost: number }
}

export function createAccessLogRecorder(options: AccessLogRecorderOptions): AccessLogRecorder {
  const { worker, decisionLog, accessLog, labels, tally, newId, limit, log } = options
  let lost = 0
  const access = { written: 0, lost: 0 }
  const say = (fields: object, message: string): void => {
    const leftOut = limit.take(message)
    if (leftOut !== undefined) log.error({ ...fields, leftOut }, message)
  }
  const record = (facts: DecisionFacts | undefined): void => {
    if (facts === undefined || worker.wasRecorded(facts.request.decisionId)) return
    tally.count(facts)
    if (decisionLog.append(toDecisionRecord(labels, facts))) return
    lost += 1
    say({ code: 'ERR_DECISION_LOG', lost }, 'decision of Envoy not written')
  }
  const factsOf = (entry: AccessLogEntry) =>
    fromAccessLogEntry(entry, {
      set: worker.activeSet(),
      revision: worker.activeRevision(),
      newId,
      whyNoAnswer: (startNs) => worker.whyNoAnswer(startNs),
      nowNs: BigInt(Date.now()) * 1_000_000n,
    })
  const write = (entry: AccessLogEntry, facts: DecisionFacts | undefined): void => {
    const line = accessLog && toAccessRecord(entry, facts, labels)
    if (line === undefined) return
    if (accessLog?.append(line) === true) access.written += 1
    else access.lost += 1
  }
  return {
    lost: () => lost,
    access: () => access,
    record: (entry) => {
      let facts: DecisionFacts | undefined
      try {
        facts = factsOf(entry)
        record(facts)
      } catch (err) {
        lost += 1
        say({ err, lost }, 'decision of Envoy lost')
      }
      try {
        write(entry, facts)
      } catch (err) {
        access.lost += 1
        say({ err, lost: access.lost }, 'access log entry lost')
      }
    },
  }
}
