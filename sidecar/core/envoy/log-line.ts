/** Envoy's log lines as level, component and message. In: one line. Out: what to log, and at which level. */

export interface EnvoyLogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly component: string
  readonly message: string
}

/** For `envoy --log-format`: level, logger, text; a tab cannot stand in the first two. */
export const ENVOY_LOG_FORMAT = '%l\t%n\t%v'

const LEVELS: Readonly<Record<string, EnvoyLogLine['level']>> = {
  trace: 'debug',
  debug: 'debug',
  info: 'info',
  warning: 'warn',
  error: 'error',
  critical: 'error',
}

/** A line of another form (a crash's backtrace, setpriv's complaint) is a warning of component `envoy`. */
export function readLogLine(line: string): EnvoyLogLine {
  const [level, component, ...rest] = line.split('\t')
  const known = level === undefined ? undefined : LEVELS[level]
  if (known === undefined || component === undefined || rest.length === 0)
    return { level: 'warn', component: 'envoy', message: line }
  return { level: known, component, message: rest.join('\t') }
}
