/** The one name of a resource among all types. */
export function keyOf(typeUrl: string, name: string): string {
  return `${typeUrl} ${name}`
}
