/** The host names by which a service is called. */
import type { Service } from './mesh.ts'

/** All host names of a service, for a caller in `namespace`. */
export function hostsOf(service: Service, namespace: string): readonly string[] {
  return [
    ...(service.namespace === namespace ? [service.name] : []),
    ...fullNames(service),
    ...service.hosts,
  ]
}

/** The names that every service has, and no other may claim. */
export function fullNames({ namespace, name }: Pick<Service, 'namespace' | 'name'>): string[] {
  const full = `${name}.${namespace}`
  return [full, `${full}.svc`, `${full}.svc.cluster.local`]
}
