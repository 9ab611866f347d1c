/**
 * As much of a pod's spec as injection reads and writes; the rest passes through as it is.
 * Source: Kubernetes API core/v1 PodSpec.
 */

export type Json = Readonly<Record<string, unknown>>

export interface HttpHeader {
  readonly name: string
  readonly value: string
}

export interface HttpGet {
  readonly path?: string
  readonly port: number | string
  readonly host?: string
  readonly scheme?: string
  readonly httpHeaders?: readonly HttpHeader[]
}

export interface Probe extends Json {
  readonly httpGet?: HttpGet
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string }
  readonly grpc?: { readonly port: number; readonly service?: string }
  readonly timeoutSeconds?: number
}

export interface Container extends Json {
  readonly name: string
  readonly env?: readonly { readonly name: string; readonly value?: string }[]
  readonly ports?: readonly ({ readonly name?: string; readonly containerPort: number } & Json)[]
  readonly volumeMounts?: readonly ({ readonly name: string } & Json)[]
  readonly securityContext?: { readonly runAsUser?: number } & Json
  readonly restartPolicy?: string
  readonly livenessProbe?: Probe
  readonly readinessProbe?: Probe
  readonly startupProbe?: Probe
}

export interface PodSpec extends Json {
  readonly containers?: readonly Container[]
  readonly initContainers?: readonly Container[]
  readonly volumes?: readonly ({ readonly name: string } & Json)[]
  readonly hostNetwork?: boolean
  readonly hostPID?: boolean
  readonly shareProcessNamespace?: boolean
  readonly os?: { readonly name?: string }
  readonly securityContext?: { readonly runAsUser?: number }
}

export interface PodMetadata extends Json {
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

/** A Pod, or the template of one. */
export interface PodTemplate extends Json {
  readonly metadata?: PodMetadata
  readonly spec?: PodSpec
}

/** Why a pod can't be injected: where, what, and what to do. */
export interface Refusal {
  readonly field: string
  readonly message: string
  readonly remedy: string
}
