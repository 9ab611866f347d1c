import { create } from '@bufbuild/protobuf'
import t from 'tap'
import { buildBodyFilters, buildBodyRoutes } from '../../../../../controller/core/xds/body-limit.ts'
import { RouteSchema } from '../../../../../proto/gen/envoy/config/route/v3/route_components_pb.js'

t.test('without a limit there are no filters', async (t) => {
  t.same(buildBodyFilters(), [])
  t.same(buildBodyFilters({ maxRequestHeaderBytes: 1024 }), [])
})

t.test('the buffer stands before the filter that compares lengths', async (t) => {
  const names = buildBodyFilters({ maxRequestBodyBytes: 10 }).map(({ name }) => name)
  t.same(names, ['envoy.filters.http.buffer', 'envoy.filters.http.fault'])
})

t.test('what says its length, or has no body, is not held back; all else is', async (t) => {
  const routes = buildBodyRoutes(create(RouteSchema, { name: 'r' }))
  const held = routes.filter((r) => Object.keys(r.typedPerFilterConfig).length === 0)
  t.same(
    routes.map(({ name }) => name),
    ['r/websocket', 'r/length', 'r'],
  )
  t.same(
    held.map(({ name }) => name),
    ['r'],
  )
})
