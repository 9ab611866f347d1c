/**
 * Which Kubernetes the tests run: the default, and the older ones that can be asked for by KUBERNETES=1.34 … 1.37.
 * Each version is pinned by the go.sum of its own module in tools/. Pure.
 */
import { Missing } from './missing.ts'

/** Minor version → the release that is pinned, newest first. */
const RELEASES: Readonly<Record<string, string>> = {
  '1.37': '1.37.2',
  '1.36': '1.36.3',
  '1.35': '1.35.4',
  '1.34': '1.34.4',
}
export const DEFAULT_KUBERNETES = '1.37.2'

/** The release that `asked` means: `1.36`, `1.36.3` or `v1.36.3`; empty: the default. Throws Missing for another. */
export function kubernetesRelease(asked: string | undefined): string {
  if (asked === undefined || asked === '') return DEFAULT_KUBERNETES
  const plain = asked.replace(/^v/, '')
  const release = RELEASES[plain.split('.').slice(0, 2).join('.')]
  if (release !== undefined && (plain === release || plain.split('.').length === 2)) return release
  throw new Missing(
    `KUBERNETES=${asked} is not among the pinned releases: ${Object.values(RELEASES).join(', ')}.`,
  )
}

/** The folder in tools/ that pins a release. */
export function kubernetesModule(release: string): string {
  if (release === DEFAULT_KUBERNETES) return 'kubernetes'
  return `kubernetes-${release.split('.').slice(0, 2).join('.')}`
}

/** Without a version a component takes itself for v0.0.0 and refuses its own feature gates. */
export function kubernetesFlags(release: string): string {
  const [major, minor] = release.split('.')
  const of = ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version'].flatMap((path) => [
    `-X ${path}.gitVersion=v${release}`,
    `-X ${path}.gitMajor=${major}`,
    `-X ${path}.gitMinor=${minor}`,
  ])
  return ['-s -w', ...of].join(' ')
}
