/** The thread of explain.ts: one bundle, one request, one answer. What it evaluates can hang it, and nothing else. */
import { parentPort, workerData } from 'node:worker_threads'
import type { FromExplain } from './explain.ts'
import { answerAsSidecar, type ExplainTask } from './explain-answer.ts'

function post(message: FromExplain): void {
  parentPort?.postMessage(message)
}

const enter = (policy: string) => post({ kind: 'enter', policy })

answerAsSidecar(workerData as ExplainTask, enter).then(
  (answer) => post({ kind: 'done', answer }),
  (error: unknown) => {
    post({ kind: 'failed', message: error instanceof Error ? error.message : String(error) })
  },
)
