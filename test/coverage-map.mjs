/**
 * A unit test covers the module whose path it mirrors, and no other: code that only other modules' tests reach shows.
 * For `make coverage`. test/unit/common/bundle.test.ts → common/bundle.ts
 */
export default (test) => {
  const match = /^test\/unit\/(?<path>.*)\.test\.ts$/.exec(test)
  return match === null ? null : `${match.groups.path}.ts`
}
