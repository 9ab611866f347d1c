/**
 * The churn drill, short: policies, endpoints and certificates change and processes are killed, while callers are to be
 * allowed and denied. What depends on the machine's speed is judged by `make proof` only.
 */
import t from 'tap'
import { CHURN_STACK, drillChurn } from '../../drills/churn.ts'
import { onStack } from '../../drills/main.ts'
import { judge } from '../kit/drill.ts'

const PORT_OFFSET = 3000

t.test('churn', async (t) => {
  const options = { seconds: Number(process.env.CHURN_SECONDS ?? 12), seed: 7, load: 0.2 }
  const reports = await onStack({ ...CHURN_STACK, portOffset: PORT_OFFSET }, async (stack) => [
    await drillChurn(stack, options),
  ])
  judge(t, reports)
})
