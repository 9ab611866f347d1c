import t from 'tap'
import {
  buildCircuitBreakers,
  buildOutlierDetection,
} from '../../../../../controller/core/xds/circuit-breaker.ts'

t.test('defaults, and a fixed number of retries in place of the budget', async (t) => {
  const [usual] = buildCircuitBreakers().thresholds
  t.match(usual, { maxConnections: 16_384, retryBudget: { budgetPercent: { value: 20 } } })
  const [own] = buildCircuitBreakers({
    circuitBreaking: { maxRequests: 7, maxRetries: 3 },
  }).thresholds
  t.match(own, { maxConnections: 16_384, maxRequests: 7, maxRetries: 3 })
  t.equal(own?.retryBudget, undefined)
})

t.test('only what the policy names throws an endpoint out', async (t) => {
  const outlier = {
    consecutiveGatewayErrors: 0,
    consecutive5xxErrors: 3,
    intervalMs: 1000,
    baseEjectionTimeMs: 2000,
    maxEjectionPercent: 50,
  }
  t.match(buildOutlierDetection(outlier), {
    enforcingConsecutiveGatewayFailure: 0,
    consecutive5xx: 3,
    enforcingConsecutive5xx: 100,
    enforcingSuccessRate: 0,
    enforcingFailurePercentage: 0,
  })
  t.match(
    buildOutlierDetection({ ...outlier, consecutiveGatewayErrors: 4, consecutive5xxErrors: 0 }),
    {
      consecutiveGatewayFailure: 4,
      enforcingConsecutiveGatewayFailure: 100,
      enforcingConsecutive5xx: 0,
    },
  )
})
