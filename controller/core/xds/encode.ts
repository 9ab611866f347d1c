/** Protobuf shapes that many resources share: Any, ADS sources, durations, sockets. */
import {
  create,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf'
import {
  type Any,
  anyPack,
  type Duration,
  DurationSchema,
  StringValueSchema,
} from '@bufbuild/protobuf/wkt'
import { type Address, AddressSchema } from '../../../proto/gen/envoy/config/core/v3/address_pb.js'
import {
  ApiVersion,
  type ConfigSource,
  ConfigSourceSchema,
} from '../../../proto/gen/envoy/config/core/v3/config_source_pb.js'
import {
  type SdsSecretConfig,
  SdsSecretConfigSchema,
} from '../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import {
  type TypedExtensionConfig,
  TypedExtensionConfigSchema,
} from '../../../proto/gen/xds/core/v3/extension_pb.js'
import {
  type Matcher_OnMatch,
  Matcher_OnMatchSchema,
} from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'

/** A message as the Any of its type. */
export function pack<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Any {
  return anyPack(schema, create(schema, init) as MessageShape<D>)
}

/** "From the one ADS stream": all that Envoy asks for comes in one order. */
export function fromAds(): ConfigSource {
  return create(ConfigSourceSchema, {
    configSourceSpecifier: { case: 'ads', value: {} },
    resourceApiVersion: ApiVersion.V3,
  })
}

export function fromSds(name: string): SdsSecretConfig {
  return create(SdsSecretConfigSchema, { name, sdsConfig: fromAds() })
}

/** Whole milliseconds, 0 or more. */
export function duration(ms: number): Duration {
  const whole = Math.round(ms)
  return create(DurationSchema, {
    seconds: BigInt(Math.floor(whole / 1000)),
    nanos: (whole % 1000) * 1_000_000,
  })
}

export function socketAddress(address: string, port: number): Address {
  return create(AddressSchema, {
    address: {
      case: 'socketAddress',
      value: { address, portSpecifier: { case: 'portValue', value: port } },
    },
  })
}

/** A named extension with its configuration. */
export function extension<D extends DescMessage>(
  name: string,
  schema: D,
  init: MessageInitShape<D>,
): TypedExtensionConfig {
  return create(TypedExtensionConfigSchema, { name, typedConfig: pack(schema, init) })
}

/** What a filter chain matcher ends in: the chain of this name. */
export function toChain(name: string): Matcher_OnMatch {
  return create(Matcher_OnMatchSchema, {
    onMatch: { case: 'action', value: extension(name, StringValueSchema, { value: name }) },
  })
}
