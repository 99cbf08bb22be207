/** JSON text -> value of a schema, with problems a person can act on. */
import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/schema';

import { parseJson } from './json-text.ts';
import { BundleError } from './problem.ts';

/** Problems shown at most: a file of the wrong kind breaks every rule at once. */
const SHOWN = 20;

/**
 * A reader of one kind of file.
 *
 * @returns a function of the file's name and bytes that throws a BundleError listing what is wrong with them
 */
export function createReader<S extends TSchema>(schema: S): (file: string, bytes: Buffer) => Static<S> {
  const validator = Compile(schema);
  return (file, bytes) => {
    const value = parseJson(file, bytes);
    if (validator.Check(value)) return value as Static<S>;
    const [, errors] = validator.Errors(value);
    const problems = [...new Set(errors.map((error) => `${file}${error.instancePath}: ${error.message}`))];
    const hidden = problems.length - SHOWN;
    throw new BundleError(hidden > 0 ? [...problems.slice(0, SHOWN), `${file}: ${hidden} more problems`] : problems);
  };
}
