/**
 * Envoy's access log → the decision log, in the main thread. The request is over when its entry comes, so that nothing
 * can be refused any more: what can't be written is counted and said, never dropped in silence (DESIGN §1.4).
 */
import { type AccessLogEntry, fromAccessLogEntry } from '../core/decision-log/access-log.ts'
import { type LogLabels, toDecisionRecord } from '../core/decision-log/record.ts'
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
  readonly labels: LogLabels
  readonly tally: Pick<DecisionTally, 'count'>
  readonly newId: () => string
  readonly log: Log
}

export interface AccessLogRecorder {
  /** Records the entry if it is a decision of Envoy's. Never throws. */
  record(entry: AccessLogEntry): void
  /** Decisions that could not be written. */
  lost(): number
}

export function createAccessLogRecorder(options: AccessLogRecorderOptions): AccessLogRecorder {
  const { worker, decisionLog, labels, tally, newId, log } = options
  let lost = 0
  const record = (entry: AccessLogEntry): void => {
    const facts = fromAccessLogEntry(entry, {
      set: worker.activeSet(),
      revision: worker.activeRevision(),
      newId,
      whyNoAnswer: (startNs) => worker.whyNoAnswer(startNs),
      nowNs: BigInt(Date.now()) * 1_000_000n,
    })
    if (facts === undefined || worker.wasRecorded(facts.request.decisionId)) return
    tally.count(facts)
    if (!decisionLog.append(toDecisionRecord(labels, facts))) throw new Error('log not writable')
  }
  return {
    lost: () => lost,
    record: (entry) => {
      try {
        record(entry)
      } catch (err) {
        lost += 1
        log.error({ err, lost }, 'decision of Envoy lost')
      }
    },
  }
}
