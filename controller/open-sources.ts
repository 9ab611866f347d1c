/** Opens where objects come from, part of the composition root. In: the configuration. Out: `Sources`. */
import { ManifestFolder } from './adapters/files/folder.ts'
import type { Config } from './config.ts'
import type { SourceParts, Sources } from './sources.ts'

/** Rejects with ERR_CONFIG. */
export async function openSources(config: Config, parts: SourceParts): Promise<Sources> {
  if (config.source === 'files') {
    const manifests = new ManifestFolder({ folder: config.manifests })
    return { manifests, ready: async () => {}, stop: async () => {} }
  }
  const { createKubernetesSources } = await import('./kubernetes-sources.ts')
  return createKubernetesSources(config, parts)
}
