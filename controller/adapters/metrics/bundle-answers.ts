/** Counts the bundle server's answers. In: its request listener. Out: the same, with each answer told to `count`. */
import type { RequestListener } from 'node:http'
import { WITHHELD_HEADER } from '../../../common/features.ts'
import type { BundleResult } from '../../runtime/bundle-desk.ts'

export function countAnswers(
  serve: RequestListener,
  count: (result: BundleResult) => void,
): RequestListener {
  return (request, response) => {
    response.on('finish', () => {
      const isWithheld = response.hasHeader(WITHHELD_HEADER)
      count(isWithheld ? 'withheld' : resultOf(response.statusCode))
    })
    serve(request, response)
  }
}

function resultOf(status: number): BundleResult {
  if (status === 200) return 'sent'
  if (status === 304) return 'unchanged'
  return status === 503 ? 'unavailable' : 'refused'
}
