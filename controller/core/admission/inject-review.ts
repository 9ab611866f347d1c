/** A pod that is made → the patch that injects it, or why it is refused. What is asked beside that is allowed as it is. */
import { injectPod } from '../inject/inject.ts'
import type { Refusal } from '../inject/pod-spec.ts'
import type { InjectionSettings } from '../inject/settings.ts'
import { readTemplate } from '../inject/template.ts'
import { type AdmissionRequest, ALLOWED, type Verdict } from './review.ts'

const NO_POD: Refusal = {
  field: 'spec',
  message: 'the pod has not the form that Kubernetes gives it',
  remedy: 'correct it',
}

export function reviewInjection(request: AdmissionRequest, settings: InjectionSettings): Verdict {
  const { group, kind, operation, subResource, object } = request
  const isPod = group === '' && kind === 'Pod' && subResource === ''
  if (!isPod || operation !== 'CREATE') return ALLOWED
  const pod = readTemplate(object)
  if (pod === undefined) return refuse([NO_POD])
  const injection = injectPod(pod, settings)
  if (injection.kind === 'refused') return refuse(injection.refusals)
  if (injection.kind === 'left')
    return { allowed: true, warnings: [`Postern does not guard this pod: ${injection.reason}`] }
  return { allowed: true, patch: injection.patch, warnings: injection.warnings }
}

function refuse(refusals: readonly Refusal[]): Verdict {
  const causes = refusals.map(({ field, message, remedy }) => ({
    field,
    message: `${message}; ${remedy}`,
  }))
  const text = causes.map(({ field, message }) => `${field}: ${message}`).join('\n')
  return { allowed: false, message: `Postern refuses this pod: ${text}`, causes, warnings: [] }
}
