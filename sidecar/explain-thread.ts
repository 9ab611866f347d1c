/** The thread of explain.ts: a bundle and a request go in, an answer comes out. What it evaluates can hang it, and nothing else. */
import { parentPort } from 'node:worker_threads'
import type { FromExplain } from './explain.ts'
import { answerAsSidecar, type ExplainTask } from './explain-answer.ts'

function post(message: FromExplain): void {
  parentPort?.postMessage(message)
}

const enter = (policy: string) => post({ kind: 'enter', policy })

parentPort?.on('message', (task: ExplainTask) => {
  answerAsSidecar(task, enter).then(
    (answer) => post({ kind: 'done', answer }),
    (error: unknown) => {
      post({ kind: 'failed', message: error instanceof Error ? error.message : String(error) })
    },
  )
})
