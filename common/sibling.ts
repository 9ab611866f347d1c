/** Modules that are started by their file, not imported. In: a path without extension. Out: its URL. */

/** `path`, relative to `base`, with `base`'s own extension: `.ts` as it is written, `.js` as it is built. */
export function siblingModule(path: string, base: string): URL {
  return new URL(`${path}${base.slice(base.lastIndexOf('.'))}`, base)
}
