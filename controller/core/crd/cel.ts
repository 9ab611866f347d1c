/**
 * The CEL rules of the CRDs (`x-kubernetes-validations`), evaluated as the API server does: at their node, after
 * defaulting, with `oldSelf` only on updates. Rules are compiled once, when a schema is first used.
 * Source: apiextensions-apiserver pkg/apiserver/schema/cel. The library: docs/decisions/0007.
 */
import { Environment } from '@marcbachmann/cel-js'
import type { FieldPath } from './field-path.ts'
import { type Finding, isRecord } from './finding.ts'
import {
  type CidrBlock,
  type IpAddress,
  isLoopbackIp,
  maskCidr,
  parseCidr,
  parseIp,
} from './net.ts'
import type { CelRule, Schema } from './schema.ts'

/** An update's old object beside the new one; `undefined` on creation. */
export interface Transition {
  readonly self: unknown
  readonly oldSelf: unknown
}

interface CompiledRule extends CelRule {
  readonly usesOldSelf: boolean
  evaluate(context: Record<string, unknown>): unknown
}

/** The rules of a node and of what lies below it; absent where there are none. */
interface RuleTree {
  readonly rules: readonly CompiledRule[]
  readonly properties: ReadonlyMap<string, RuleTree>
  readonly items?: RuleTree
  readonly values?: RuleTree
}

class Ip {
  readonly address: IpAddress
  constructor(address: IpAddress) {
    this.address = address
  }
}

class Cidr {
  readonly block: CidrBlock
  constructor(block: CidrBlock) {
    this.block = block
  }
}

export interface RuleChecker {
  (transition: Transition): Finding[]
  /** Whether any rule compares with the old object. */
  readonly usesOldSelf: boolean
}

/** Compiles all rules of a schema. Throws on a rule that does not compile: that is a bug in crds/. */
export function compileRules(schema: Schema): RuleChecker {
  const environment = buildEnvironment()
  const tree = compileTree(schema, environment)
  const check = (transition: Transition) =>
    tree === undefined ? [] : checkTree(tree, transition, [])
  return Object.assign(check, { usesOldSelf: tree !== undefined && comparesWithOld(tree) })
}

function comparesWithOld({ rules, properties, items, values }: RuleTree): boolean {
  const below = [...properties.values(), items, values]
  return (
    rules.some((r) => r.usesOldSelf) || below.some((t) => t !== undefined && comparesWithOld(t))
  )
}

/** CEL's standard functions are the library's own; here are those that only Kubernetes has. */
function buildEnvironment(): Environment {
  return new Environment({ enableOptionalTypes: true })
    .registerVariable('self', 'dyn')
    .registerVariable('oldSelf', 'dyn')
    .registerType('net.IP', Ip)
    .registerType('net.CIDR', Cidr)
    .registerFunction('isIP(string): bool', (text: string) => parseIp(text) !== undefined)
    .registerFunction('isCIDR(string): bool', (text: string) => parseCidr(text) !== undefined)
    .registerFunction('ip(string): net.IP', (text: string) => new Ip(required(parseIp(text))))
    .registerFunction(
      'cidr(string): net.CIDR',
      (text: string) => new Cidr(required(parseCidr(text))),
    )
    .registerFunction('net.IP.isUnspecified(): bool', (ip: Ip) =>
      ip.address.bytes.every((b) => b === 0),
    )
    .registerFunction('net.IP.isLoopback(): bool', (ip: Ip) => isLoopbackIp(ip.address))
    .registerFunction('net.CIDR.masked(): net.CIDR', (cidr: Cidr) => new Cidr(maskCidr(cidr.block)))
    .registerOperator('net.CIDR == net.CIDR', (a: Cidr, b: Cidr) => equalBlocks(a.block, b.block))
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('network address parse error')
  return value
}

function equalBlocks(a: CidrBlock, b: CidrBlock): boolean {
  return a.prefixLength === b.prefixLength && a.bytes.join() === b.bytes.join()
}

function compileTree(schema: Schema, environment: Environment): RuleTree | undefined {
  const properties = new Map<string, RuleTree>()
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const tree = compileTree(child, environment)
    if (tree !== undefined) properties.set(name, tree)
  }
  const items = schema.items && compileTree(schema.items, environment)
  const values =
    schema.additionalProperties && compileTree(schema.additionalProperties, environment)
  const rules = (schema['x-kubernetes-validations'] ?? []).map((r) => compileRule(r, environment))
  if (rules.length === 0 && properties.size === 0 && !items && !values) return undefined
  return { rules, properties, ...(items && { items }), ...(values && { values }) }
}

function compileRule(rule: CelRule, environment: Environment): CompiledRule {
  const program = environment.parse(rule.rule)
  const check = program.check()
  if (!check.valid) throw new Error(`CEL rule ${rule.rule}: ${check.error?.message}`)
  return {
    ...rule,
    usesOldSelf: /\boldSelf\b/.test(rule.rule),
    evaluate: (context) => program(context),
  }
}

function checkTree(tree: RuleTree, { self, oldSelf }: Transition, path: FieldPath): Finding[] {
  const { rules } = tree
  const context: Record<string, unknown> = {}
  if (rules.length > 0) context.self = toCel(self)
  if (oldSelf !== undefined && rules.some((r) => r.usesOldSelf)) {
    context.oldSelf = toCel(oldSelf)
  }
  const own = rules.flatMap((rule) => checkRule(rule, context, path))
  return [...own, ...checkChildren(tree, { self, oldSelf }, path)]
}

function checkChildren(tree: RuleTree, { self, oldSelf }: Transition, path: FieldPath): Finding[] {
  if (Array.isArray(self)) {
    const { items } = tree
    // Elements of a list have no old counterpart, but for lists of type map, which no transition rule of ours is in.
    return items === undefined
      ? []
      : self.flatMap((item, i) =>
          checkTree(items, { self: item, oldSelf: undefined }, [...path, i]),
        )
  }
  if (!isRecord(self)) return []
  const old = isRecord(oldSelf) ? oldSelf : {}
  return Object.entries(self).flatMap(([key, child]) => {
    const childTree = tree.properties.get(key) ?? tree.values
    return childTree === undefined
      ? []
      : checkTree(childTree, { self: child, oldSelf: old[key] }, [...path, key])
  })
}

function checkRule(
  rule: CompiledRule,
  context: Record<string, unknown>,
  path: FieldPath,
): Finding[] {
  if (rule.usesOldSelf && !Object.hasOwn(context, 'oldSelf')) return []
  if (holds(rule, context)) return []
  const below = rule.fieldPath?.split('.').slice(1) ?? []
  return [
    {
      code: 'ERR_RULE_VIOLATED',
      path: [...path, ...below],
      message: rule.message,
      remedy: 'change the object so that the rule holds',
    },
  ]
}

/** A rule that cannot be evaluated does not hold: the API server refuses then, too. */
function holds(rule: CompiledRule, context: Record<string, unknown>): boolean {
  try {
    return rule.evaluate(context) === true
  } catch {
    return false
  }
}

/**
 * JSON has one number type and CEL three: integers become bigint, and no field of the CRDs is a `number`.
 * Objects become maps: a key such as `constructor` then means nothing to JavaScript.
 */
function toCel(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value
  if (Array.isArray(value)) return value.map(toCel)
  return isRecord(value)
    ? new Map(Object.entries(value).map(([key, child]) => [key, toCel(child)]))
    : value
}
