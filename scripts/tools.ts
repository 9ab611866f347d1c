/**
 * `make tools`, `make test-tools`, `make cluster-tools`: brings the pinned programs into the user's cache and links
 * .tools/ to them. In: the catalogs in scripts/tools/; `--test` and `--cluster` take the programs of the tests and of the
 * test cluster. What is there already costs one reading of the file; what was interrupted goes on where it was.
 */
import { bringLinked, bringNft, bringRunc } from './tools/bring.ts'
import { TEST_TOOLS, TOOLS, type ToolSource } from './tools/catalog.ts'
import { CRANE, clusterTools, KUBERNETES } from './tools/catalog-cluster.ts'
import { Missing, runMain } from './tools/missing.ts'

const say = (line: string) => void process.stderr.write(`${line}\n`)
const isRoot = process.getuid?.() === 0

/** For root the API server comes with the rest of Kubernetes: both are compiled from the same, which takes minutes. */
function testTools(): readonly ToolSource[] {
  return isRoot ? TEST_TOOLS.filter(({ name }) => name !== 'kube-apiserver') : TEST_TOOLS
}

async function bringTestTools(): Promise<void> {
  for (const tool of testTools()) await bringLinked(tool)
  if (!isRoot) return
  await bringLinked(KUBERNETES, ['kube-apiserver', 'kubectl'])
  // Its tests say that they are skipped without it.
  await bringNft().catch((error: Error) => {
    if (!(error instanceof Missing)) throw error
    say(error.message)
  })
}

async function bringClusterTools(): Promise<void> {
  if (!isRoot) return say('the test cluster needs root: its programs are not built')
  for (const tool of clusterTools(process.env.KUBERNETES)) {
    const linked = ['kubectl', 'helm'].filter((name) => name === tool.name || tool.others?.[name])
    await bringLinked(tool, linked)
  }
  await bringRunc()
  await bringNft()
}

async function main(): Promise<void> {
  if (process.argv.includes('--test')) return bringTestTools()
  if (process.argv.includes('--cluster')) return bringClusterTools()
  if (process.argv.includes('--push')) return bringLinked(CRANE)
  for (const tool of TOOLS) await bringLinked(tool)
}

await runMain(main)
