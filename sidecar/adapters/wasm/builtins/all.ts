/** Every host builtin there is so far, by its Rego name. A policy that calls another one ends in an error naming it. */
import type { Builtins } from './builtin.ts'
import { encodingBuiltins } from './encoding.ts'
import { jwtBuiltins } from './jwt.ts'
import { stringBuiltins } from './strings.ts'
import { timeBuiltins } from './time.ts'

export const builtins: Builtins = new Map(
  Object.entries({ ...encodingBuiltins, ...jwtBuiltins, ...stringBuiltins, ...timeBuiltins }),
)
