/** Counts the bundle server's answers. In: its request listener. Out: the same, with each answer told to `count`. */
import type { RequestListener } from 'node:http'
import { WITHHELD_HEADER } from '../../../common/features.ts'

export function countAnswers(
  serve: RequestListener,
  count: (status: number, isWithheld: boolean) => void,
): RequestListener {
  return (request, response) => {
    response.on('finish', () => count(response.statusCode, response.hasHeader(WITHHELD_HEADER)))
    serve(request, response)
  }
}
