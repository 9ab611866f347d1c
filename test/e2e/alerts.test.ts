/**
 * The alerts drill, short: a real Prometheus scrapes a real stack; alerts fire for what is done to it, and end.
 * `make proof` does more to it.
 */
import t from 'tap'
import { drillAlerts } from '../../drills/alerts.ts'
import { onStack } from '../../drills/main.ts'
import { judge } from '../kit/drill.ts'

const PORT_OFFSET = 3000

t.test('alerts', { timeout: 300_000 }, async (t) => {
  const reports = await onStack({ portOffset: PORT_OFFSET }, async (stack) => [
    await drillAlerts(stack, 'short'),
  ])
  judge(t, reports)
})
