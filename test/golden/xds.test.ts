/** What each case's manifests become in Envoy. */
import { t } from 'tap'
import { golden } from '../kit/golden.ts'
import { buildXdsCase, toGoldenFiles } from '../kit/xds-cases.ts'

await golden(t, 'xds', ({ read }) => toGoldenFiles(buildXdsCase(read())))
