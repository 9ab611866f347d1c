/**
 * Asks a running controller through the admin socket in its state directory.
 * In: state directory and path. Out: parsed JSON. Errors: ERR_CONTROLLER_UNAVAILABLE, or the controller's own code.
 */
import http from 'node:http'
import { join } from 'node:path'
import { MESH_ERROR_CODES, MeshError } from '../common/errors.ts'

/**
 * Origin: an answer takes milliseconds, a question that the controller asks proxies 10 s for each 16 of them that do not
 * answer; a minute is a controller that hangs.
 */
const TIMEOUT_MS = 60_000

interface Answer {
  readonly status: number
  readonly text: string
}

function send(socketPath: string, method: string, path: string, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers =
      body === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const request = http.request(
      { socketPath, method, path, headers, timeout: TIMEOUT_MS },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        )
        response.on('error', reject)
      },
    )
    request.on('timeout', () => request.destroy(new Error('no answer in a minute')))
    request.on('error', reject)
    request.end(body)
  })
}

/** The controller's own code and sentence, when it said one. */
function toError(text: string): MeshError {
  try {
    const { reason, message } = JSON.parse(text) as { reason?: string; message?: string }
    const code = MESH_ERROR_CODES.find((c) => c === reason) ?? 'ERR_INTERNAL'
    return new MeshError(code, message ?? text)
  } catch {
    return new MeshError('ERR_INTERNAL', text)
  }
}

/** Undefined when the controller answers 404. */
export async function askController(
  stateDir: string,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
): Promise<unknown> {
  const socketPath = join(stateDir, 'admin.sock')
  let answer: Answer
  try {
    answer = await send(
      socketPath,
      method,
      path,
      body === undefined ? undefined : JSON.stringify(body),
    )
  } catch (cause) {
    throw new MeshError(
      'ERR_CONTROLLER_UNAVAILABLE',
      `no controller answers on ${socketPath}; start one with \`postern controller --manifests DIR --state ${stateDir}\`, or name its state directory with --state`,
      { retry: 'backoff', cause },
    )
  }
  if (answer.status === 404) return undefined
  if (answer.status >= 400) throw toError(answer.text)
  return JSON.parse(answer.text)
}
