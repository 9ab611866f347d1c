/**
 * A multipart/form-data body → its named parts, read as Go's mime/multipart reads it (opa-envoy-plugin's parser),
 * so that a policy sees the parts that the plugin's users expect. Anything Go refuses throws ERR_INPUT_INVALID;
 * so does a part in quoted-printable, which Go would decode and no client sends.
 * Text is held as latin1, one character for one byte, until a part's end.
 */

import { MeshError } from '../../../common/errors.ts'
import { trimBlanks } from '../../../common/trim.ts'
import { parseMediaType } from './media-type.ts'

export interface Part {
  readonly name: string
  /** First `Content-Type` of the part, '' when it has none. */
  readonly contentType: string
  readonly bytes: Uint8Array
}

/** bufio's buffer: Go refuses longer lines between parts. */
const MAX_LINE = 4096
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z ]+$/

interface Reader {
  readonly text: string
  readonly boundary: string
  at: number
  /** Line end in force: CR LF, or LF when the first boundary line ends so. */
  newline: string
}

/** The parts that have a form name, in order. Errors: ERR_INPUT_INVALID. */
export function parseMultipart(body: Uint8Array, boundary: string): Part[] {
  if (boundary === '') throw invalid('boundary is empty')
  const text = Buffer.from(body).toString('latin1')
  const reader: Reader = { text, boundary: `--${boundary}`, at: 0, newline: '\r\n' }
  const parts: Part[] = []
  for (let read = 0; nextBoundary(reader, read); read++) {
    const headers = readHeaders(reader)
    if (headers === undefined) return parts
    if (headers.get('content-transfer-encoding')?.toLowerCase() === 'quoted-printable')
      throw invalid('a part is quoted-printable')
    const bytes = readBody(reader)
    const name = formName(headers.get('content-disposition') ?? '')
    if (name !== '') parts.push({ name, contentType: headers.get('content-type') ?? '', bytes })
  }
  return parts
}

/** Moves behind the next boundary line; false after the final one. Lines before the first are skipped. */
function nextBoundary(reader: Reader, partsRead: number): boolean {
  for (let expectPart = false; ; ) {
    const line = readLine(reader)
    if (line.endsWith('\n') && isDelimiter(line, reader, partsRead)) return true
    if (isFinal(line, reader)) return false
    if (!line.endsWith('\n')) throw invalid('multipart body ends early')
    if (expectPart) throw invalid('expected a new part')
    if (partsRead === 0) continue
    if (line !== reader.newline) throw invalid('unexpected line between parts')
    expectPart = true
  }
}

/** The first boundary line decides which line end is in force. */
function isDelimiter(line: string, reader: Reader, partsRead: number): boolean {
  const rest = restAfter(line, reader.boundary)
  if (rest === '\n' && partsRead === 0) reader.newline = '\n'
  return rest === reader.newline
}

function isFinal(line: string, reader: Reader): boolean {
  const rest = restAfter(line, `${reader.boundary}--`)
  return rest === '' || rest === reader.newline
}

/** What follows the prefix and blanks; undefined when the line doesn't start so. */
function restAfter(line: string, prefix: string): string | undefined {
  return line.startsWith(prefix) ? line.slice(prefix.length).replace(/^[ \t]+/, '') : undefined
}

function readLine(reader: Reader): string {
  const end = reader.text.indexOf('\n', reader.at)
  const line = reader.text.slice(reader.at, end < 0 ? undefined : end + 1)
  if (line.length > MAX_LINE) throw invalid('line between parts is too long')
  reader.at += line.length
  return line
}

/** First value of each header, by lower-case name. Undefined: the body ended within, which Go takes for its end. */
function readHeaders(reader: Reader): Map<string, string> | undefined {
  const headers = new Map<string, string>()
  if (/[ \t]/.test(reader.text.charAt(reader.at))) throw invalid('malformed header')
  for (;;) {
    const first = readHeaderLine(reader)
    if (first === undefined) return undefined
    if (first === '') return headers
    if (!first.includes(':')) throw invalid('malformed header')
    let line = trimBlanks(first)
    while (/[ \t]/.test(reader.text.charAt(reader.at))) {
      reader.at += /^[ \t]+/.exec(reader.text.slice(reader.at))?.[0].length ?? 0
      const more = readHeaderLine(reader)
      line += ` ${more === undefined ? '' : trimBlanks(more)}`
    }
    addHeader(headers, line)
  }
}

function addHeader(headers: Map<string, string>, line: string): void {
  const colon = line.indexOf(':')
  const name = line.slice(0, colon)
  const value = line.slice(colon + 1)
  if (!HEADER_NAME.test(name) || hasControl(value)) throw invalid('malformed header')
  // a name with a blank is kept by Go as another name than any that is asked for
  const key = name.toLowerCase()
  if (!headers.has(key)) headers.set(key, value.replace(/^[ \t]+/, ''))
}

/** Any control character but the tab. */
function hasControl(value: string): boolean {
  return Buffer.from(value, 'latin1').some((c) => (c < 0x20 && c !== 0x09) || c === 0x7f)
}

/** Without its line end; undefined at the body's end. */
function readHeaderLine(reader: Reader): string | undefined {
  if (reader.at >= reader.text.length) return undefined
  const end = reader.text.indexOf('\n', reader.at)
  const line = reader.text.slice(reader.at, end < 0 ? undefined : end)
  reader.at = end < 0 ? reader.text.length : end + 1
  return end >= 0 && line.endsWith('\r') ? line.slice(0, -1) : line
}

/** Everything up to the next boundary, which stays unread. */
function readBody(reader: Reader): Uint8Array {
  const { text, boundary, at: start } = reader
  if (text.startsWith(boundary, start) && endsBoundary(text, start + boundary.length))
    return new Uint8Array()
  const delimiter = reader.newline + boundary
  let end = text.indexOf(delimiter, start)
  while (end >= 0 && !endsBoundary(text, end + delimiter.length))
    end = text.indexOf(delimiter, end + delimiter.length)
  if (end < 0) throw invalid('a part has no end')
  reader.at = end
  return Buffer.from(text.slice(start, end), 'latin1')
}

/** Whether a boundary really ends at `at`: the body's end, a blank, a line end or `--` follows. */
function endsBoundary(text: string, at: number): boolean {
  return at >= text.length || /[ \t\r\n]/.test(text.charAt(at)) || text.startsWith('--', at)
}

function formName(disposition: string): string {
  const parsed = parseMediaType(disposition)
  const name = parsed?.type === 'form-data' ? parsed.parameters.get('name') : undefined
  return Buffer.from(name ?? '', 'latin1').toString('utf8')
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_INPUT_INVALID', message)
}
