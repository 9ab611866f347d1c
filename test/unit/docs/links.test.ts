/** Every relative link of the documentation leads to a file that is there, and to a heading that it has. */
import { existsSync, globSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

const ROOT = join(import.meta.dirname, '../../..')
const PAGES = globSync(['*.md', '{docs,controller,sidecar}/**/*.md'], { cwd: ROOT }).sort()

/** As GitHub makes anchors of headings. */
function anchorsOf(page: string): ReadonlySet<string> {
  const headings = readFileSync(page, 'utf8').matchAll(/^#+ +(.*)$/gm)
  const slug = (heading: string) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-')
  return new Set([...headings].map(([, heading = '']) => slug(heading)))
}

/** Targets outside of code, without those of the web. */
function linksOf(text: string): string[] {
  const prose = text.replaceAll(/^```[\s\S]*?^```/gm, '').replaceAll(/`[^`\n]*`/g, '')
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
}

t.ok(PAGES.length > 10, 'pages were found')
for (const page of PAGES) {
  t.test(page, async (t) => {
    for (const target of linksOf(readFileSync(join(ROOT, page), 'utf8'))) {
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? join(ROOT, page) : join(ROOT, dirname(page), path)
      t.ok(existsSync(file), target)
      if (anchor === undefined || !existsSync(file) || statSync(file).isDirectory()) continue
      t.ok(anchorsOf(file).has(anchor), target)
    }
  })
}
