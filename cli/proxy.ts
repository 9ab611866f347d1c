/** `postern proxy …`: what the proxies are at, and what they really have. */
import type { Command } from 'commander'
import { addProxyConfig } from './proxy/config.ts'
import { addProxyStatus } from './proxy/status.ts'

export function addProxy(program: Command): void {
  const proxy = program.command('proxy').description('what the proxies are at and really have')
  addProxyStatus(proxy)
  addProxyConfig(proxy)
}
