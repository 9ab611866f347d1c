/**
 * envoy.service.accesslog.v3.AccessLogService, served beside ADS: how Envoy's own decisions come to us.
 * In: Envoy's streams of entries. Out: each entry to `onEntry`, in order. Answers nothing but the stream's end.
 */

import { create } from '@bufbuild/protobuf'
import type { ServerReadableStream, sendUnaryData } from '@grpc/grpc-js'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import {
  AccessLogService,
  type StreamAccessLogsMessage,
  type StreamAccessLogsResponse,
  StreamAccessLogsResponseSchema,
} from '../../../proto/gen/envoy/service/accesslog/v3/als_pb.js'
import type { AccessLogEntry } from '../../core/decision-log/access-log.ts'

/** What EnvoyServer takes as a further service. `onEntry` must not throw. */
export function createAccessLogService(onEntry: (entry: AccessLogEntry) => void) {
  return {
    service: toServiceDefinition(AccessLogService),
    implementation: {
      StreamAccessLogs: (
        call: ServerReadableStream<StreamAccessLogsMessage, StreamAccessLogsResponse>,
        reply: sendUnaryData<StreamAccessLogsResponse>,
      ): void => {
        // Said once, by the stream's first message.
        let logName = ''
        call.on('data', (message: StreamAccessLogsMessage) => {
          logName = message.identifier?.logName ?? logName
          for (const entry of entriesOf(message, logName)) onEntry(entry)
        })
        call.on('end', () => reply(null, create(StreamAccessLogsResponseSchema)))
        call.on('error', () => undefined)
      },
    },
  }
}

function entriesOf(
  { logEntries }: StreamAccessLogsMessage,
  logName: string,
): readonly AccessLogEntry[] {
  switch (logEntries.case) {
    case 'httpLogs':
      return logEntries.value.logEntry.map((entry) => ({ logName, protocol: 'http', entry }))
    case 'tcpLogs':
      return logEntries.value.logEntry.map((entry) => ({ logName, protocol: 'tcp', entry }))
    default:
      return []
  }
}
