/** `postern explain …`: who decided, or would decide, and why. */
import type { Command } from 'commander'
import { addExplainDecision } from './explain/decision.ts'
import { addExplainPolicy } from './explain/policy.ts'
import { addExplainRequest } from './explain/request.ts'

export function addExplain(program: Command): void {
  const explain = program.command('explain').description('who decides, and why')
  addExplainRequest(explain)
  addExplainDecision(explain)
  addExplainPolicy(explain)
}
