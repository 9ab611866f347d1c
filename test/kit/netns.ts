/**
 * A network namespace of the test's own: addresses and firewall rules that nobody else sees, gone with its process.
 * Needs root and nft; `whyNoNetns` says what is missing, for a loud skip.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readlinkSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { AppSeen, Ask, Told } from './netns-agent.ts'
import { startProcess } from './process.ts'
import { tempDir } from './tempdir.ts'
import { waitFor } from './wait.ts'

const UNPACKED = join(import.meta.dirname, '../../.tools/nft')
/** The machine's own, or what `make test-tools` unpacked where there is none. */
const NFT = existsSync(UNPACKED) ? UNPACKED : 'nft'

/** Undefined: a namespace can be made. */
export function whyNoNetns(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root'
  try {
    execFileSync(NFT, ['--version'], { stdio: 'ignore' })
    execFileSync('unshare', ['--net', 'true'], { stdio: 'ignore' })
  } catch {
    return 'needs nft, and the right to make network namespaces'
  }
  return undefined
}

export interface Netns {
  /** Put before a command to run it there. */
  readonly prefix: readonly string[]
  run(command: string, ...args: readonly string[]): void
  /** Loads rules, as `nft -f -` does. */
  nft(rules: string): void
  startAgent(uid: number, apps?: readonly string[]): Promise<Agent>
}

/** Makes one with `addresses` on its loopback interface, by which everything else is routed too. */
export async function startNetns(t: Test, addresses: readonly string[]): Promise<Netns> {
  const holder = startProcess(t, 'unshare', ['--net', 'sleep', 'infinity'])
  const own = readlinkSync('/proc/self/ns/net')
  await waitFor(() => readlinkSync(`/proc/${holder.pid}/ns/net`) !== own, { what: 'the namespace' })
  const prefix = ['nsenter', `--net=/proc/${holder.pid}/ns/net`]
  const exec = (args: readonly string[], input?: string) => {
    const [command = '', ...rest] = [...prefix, ...args]
    execFileSync(command, rest, { input: input ?? '', stdio: ['pipe', 'ignore', 'inherit'] })
  }
  exec(['ip', 'link', 'set', 'lo', 'up'])
  for (const address of addresses) exec(['ip', 'address', 'add', `${address}/32`, 'dev', 'lo'])
  exec(['ip', 'route', 'add', 'default', 'dev', 'lo'])
  return {
    prefix,
    run: (command, ...args) => exec([command, ...args]),
    nft: (rules) => exec([NFT, '-f', '-'], rules),
    startAgent: async (uid, apps = []) => {
      const socket = join(tempDir(t), 'agent.sock')
      const script = join(import.meta.dirname, 'netns-agent.ts')
      const [command = '', ...rest] = [...prefix, process.execPath, script]
      const agent = startProcess(t, command, [...rest, socket, String(uid), ...apps])
      await agent.waitForLine(/^ready$/)
      return new Agent(socket)
    },
  }
}

/** A program in the namespace, under a uid of its own. */
export class Agent {
  readonly #socket: string

  constructor(socket: string) {
    this.#socket = socket
  }

  /** A call as that program makes it. */
  call(ask: Ask): Promise<Told> {
    return this.#post(ask) as Promise<Told>
  }

  /** What its apps have seen since the last time. */
  seen(): Promise<readonly AppSeen[]> {
    return this.#post({ seen: true }) as Promise<readonly AppSeen[]>
  }

  #post(body: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.#socket, method: 'POST', path: '/' }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part) => {
          text += part
        })
        response.on('end', () => resolve(JSON.parse(text)))
      })
      asked.on('error', reject).end(JSON.stringify(body))
    })
  }
}
