/**
 * Free loopback ports for programs that can't bind port 0 themselves.
 * They lie below the kernel's ephemeral range (32768 and up): no outgoing connection can take one in the meantime.
 */
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

const FIRST = 10240
const LAST = 32000
const taken = new Set<number>()

/** A TCP port that nothing listens on at 127.0.0.1; this process is never given the same one twice. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST, LAST + 1)
    if (taken.has(port)) continue
    taken.add(port)
    if (await canBind(port)) return port
  }
}

/** `count` different free ports. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) ports.push(await freePort())
  return ports
}

function canBind(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    // On all addresses, so that a listener on any loopback address counts.
    server.listen({ port, host: '0.0.0.0', exclusive: true }, () =>
      server.close(() => resolve(true)),
    )
  })
}
