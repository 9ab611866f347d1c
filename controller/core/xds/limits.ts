/**
 * Every time and size that Postern gives to Envoy, with its origin. Where Envoy's default fits, it is not set.
 * "Edge practice": https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge
 */
import { CHECK_TIMEOUT_MS } from '../../../common/check-timeout.ts'

/** Waiting for a TCP connection. Loopback and cluster networks connect in milliseconds; Envoy's 5 s hides a dead endpoint. */
export const CONNECT_TIMEOUT_MS = 2000

/** The sidecar's answer to a Check (DESIGN §6). */
export const EXT_AUTHZ_TIMEOUT_MS = CHECK_TIMEOUT_MS

/** The part of a body that a policy sees, where one reads it. Policies look at JSON commands, not at uploads. */
export const EXT_AUTHZ_MAX_BODY_BYTES = 8192

/** A connection's read and write buffer. Edge practice says 32 KiB; four times EXT_AUTHZ_MAX_BODY_BYTES at least, for a body waits here. */
export const CONNECTION_BUFFER_BYTES = 65_536

/** Connections that the kernel holds until Envoy accepts them; Envoy's 128 overflows in a burst of short connections. */
export const TCP_BACKLOG = 1024

/** Until the first bytes tell TLS from plaintext. Envoy's 15 s is a gift to those who hold connections open. */
export const LISTENER_FILTERS_TIMEOUT_MS = 5000

/** On a server-first port under PERMISSIVE, who has sent nothing for so long is taken for plaintext. A mesh proxy sends its first bytes at once. */
export const SILENT_PLAINTEXT_MS = 1000

/** From a connection's accept to the end of its TLS handshake; a handshake is two round trips. */
export const HANDSHAKE_TIMEOUT_MS = 10_000

/** All request headers must have come; against clients that send one byte a minute. Edge practice says 5 s. */
export const REQUEST_HEADERS_TIMEOUT_MS = 10_000

/** A stream on which nothing moves in either direction; towards a service its BackendTrafficPolicy may say another. Long, since gRPC watches and websockets are quiet for minutes. */
export const STREAM_IDLE_TIMEOUT_MS = 3_600_000

/** A mesh connection without a request: the client's end closes first, so that no request meets a closing server. */
export const OUTBOUND_IDLE_TIMEOUT_MS = 300_000
export const INBOUND_IDLE_TIMEOUT_MS = 600_000

/** A connection to an HTTP/1.1 app: below the shortest keep-alive of common servers (gunicorn 2 s, Node and uvicorn 5 s), for the same reason. */
export const APP_HTTP1_IDLE_TIMEOUT_MS = 1000

/** TCP connections on which nothing moves; Envoy's default, as database pools are quiet. */
export const TCP_IDLE_TIMEOUT_MS = 3_600_000

/** Streams of one HTTP/2 connection. Edge practice says 100; between proxies a few more save connections, without inviting a rapid-reset flood. */
export const MAX_CONCURRENT_STREAMS = 250

/** HTTP/2 flow control, edge practice: a peer can make Envoy hold this much per stream and connection. */
export const STREAM_WINDOW_BYTES = 65_536
export const CONNECTION_WINDOW_BYTES = 1_048_576

/** HTTP/2 PING to a peer that may have gone without a word (power, network). */
export const HTTP2_KEEPALIVE_INTERVAL_MS = 30_000
export const HTTP2_KEEPALIVE_TIMEOUT_MS = 10_000

/** Connections, pending requests and requests per cluster; Envoy's 1,024 each is below what one connection storm needs. */
export const CIRCUIT_BREAKER_LIMIT = 16_384

/** Retries at once, as a share of active requests: Envoy's fixed 3 is too few under load and never a storm. */
export const RETRY_BUDGET_PERCENT = 20
export const RETRY_BUDGET_MIN_CONCURRENCY = 10

/** Attempts beside the first. Only failures before the server saw the request are retried, so any method is safe. */
export const RETRIES = 2
export const RETRY_BASE_INTERVAL_MS = 25
export const RETRY_MAX_INTERVAL_MS = 250

/** How often a retry chooses anew when it meets an endpoint that failed this request before. */
export const RETRY_ENDPOINT_CHOICES = 3

/** All headers of a request together; Envoy's default. A BackendTrafficPolicy sets another. */
export const REQUEST_HEADERS_BYTES = 61_440

/** Share of the SVID's lifetime that a connection may last (DESIGN §3): renewal is at half-life, so a peer's
 *  certificate outlives its connections. The client's end is shorter: it can change connections without a race. */
export const INBOUND_CONNECTION_LIFE_SHARE = 0.5
export const OUTBOUND_CONNECTION_LIFE_SHARE = 0.4

/** From the end of an HTTP connection's life until it is closed, for requests that have just begun; HTTP/2 says GOAWAY before. */
export const CONNECTION_DRAIN_MS = 2000

/** TCP connections last up to so much longer, at random, so that a fleet does not reconnect in step. */
export const CONNECTION_LIFE_JITTER_PERCENT = 10

/** Access-log entries wait this long for company, or until they are this many bytes. While the sidecar does not read,
 *  a buffer of this size per worker fills; what comes then is dropped, and counted (`logs_dropped`). */
export const ACCESS_LOG_FLUSH_MS = 200
export const ACCESS_LOG_BUFFER_BYTES = 65_536
