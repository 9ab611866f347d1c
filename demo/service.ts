/**
 * One service of the demo's shop: web → orders → payments. Plain HTTP on loopback; it knows nothing of the mesh.
 * In: NAME PORT [UPSTREAM PORT …]. It answers with what it saw, so that the demo can check what reaches an app.
 */
import http from 'node:http'
import net from 'node:net'

const [name = '', port = '0', upstream = '', ledgerPort = ''] = process.argv.slice(2)

type Headers = http.IncomingHttpHeaders

/** What a call carries on to the calls that it causes, so that they are one trace. Nobody else can know that. */
function traceOf({ traceparent, tracestate, ...headers }: Headers): Headers {
  const id = headers['x-request-id']
  return {
    ...(traceparent === undefined ? {} : { traceparent }),
    ...(tracestate === undefined ? {} : { tracestate }),
    ...(id === undefined ? {} : { 'x-request-id': id }),
  }
}

function call(
  path: string,
  body: string,
  trace: Headers,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        host: '127.0.0.1',
        port: Number(upstream),
        path,
        method: 'POST',
        headers: {
          ...trace,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
        },
      },
      async (response) => {
        const chunks: Buffer[] = []
        for await (const chunk of response) chunks.push(chunk as Buffer)
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() })
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}

/** What each service does behind its front: web asks orders, orders asks payments, payments answers. */
async function serve(path: string, trace: Headers): Promise<unknown> {
  if (name === 'web' && path === '/checkout')
    return { orders: await call('/orders', '{"item":"book"}', trace) }
  if (name === 'orders' && path === '/orders')
    return { payments: await call('/charge', '{"amount":25}', trace) }
  return {}
}

const server = http.createServer(async (request, response) => {
  try {
    for await (const chunk of request) void chunk
    const path = request.url ?? '/'
    const isOrder = request.method === 'POST' || path === '/checkout'
    const did = isOrder ? await serve(path, traceOf(request.headers)) : {}
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(
      JSON.stringify({
        service: name,
        method: request.method,
        path,
        headers: request.headers,
        did,
      }),
    )
  } catch (error) {
    response.writeHead(502, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ service: name, error: String(error) }))
  }
})
server.keepAliveTimeout = 0
server.listen(Number(port), '127.0.0.1', () => process.stdout.write(`${name} listens on ${port}\n`))

if (ledgerPort !== '') {
  net
    .createServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.on('data', (line) => socket.write(`booked ${line.toString()}`))
    })
    .listen(Number(ledgerPort), '127.0.0.1')
}
process.on('SIGTERM', () => process.exit(0))
