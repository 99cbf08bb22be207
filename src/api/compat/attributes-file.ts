/**
 * ATTRIBUTES_FILE: an operator's own mapping of labels, by model. Read once, at the start.
 *
 *     {"olid-minilm": {"OFF": {"perspective": ["TOXICITY", "INSULT"], "openai": ["harassment"]}}}
 */
import { readFile } from 'node:fs/promises';
import { Type } from 'typebox';

import { BundleError } from '../../bundle/problem.ts';
import { createReader } from '../../bundle/schema-check.ts';
import type { ServedModel } from '../../engine/types.ts';
import { type Attributes, createAttributes, type Mapping } from './attributes.ts';
import { CATEGORIES } from './openai/categories.ts';
import { KNOWN_ATTRIBUTES } from './perspective/known-attributes.ts';

const closed = { additionalProperties: false };
const words = (known: readonly string[]) => Type.Optional(Type.Array(Type.Enum([...known]), { uniqueItems: true }));
const byName = (value: object) => Type.Unsafe<Record<string, Mapping>>({ type: 'object', additionalProperties: value });

const readMappings = createReader(
  byName({
    type: 'object',
    additionalProperties: Type.Object({ perspective: words(KNOWN_ATTRIBUTES), openai: words(CATEGORIES) }, closed),
  }),
);

/** Everything that is wrong with the file, one line each. */
export class AttributesFileError extends Error {
  override readonly name = 'AttributesFileError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/**
 * @param path undefined for the manifests' own mappings
 * @param served what the labels are checked against
 * @throws AttributesFileError when the file cannot be read, is of another form, or names what is not there
 */
export async function loadAttributes(path: string | undefined, served: readonly ServedModel[]): Promise<Attributes> {
  if (path === undefined) return createAttributes();
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new AttributesFileError([`it cannot be read (${error.code})`]);
  });
  const mappings = new Map(Object.entries(parse(bytes)));
  const problems = [...mappings].flatMap(([name, mapping]) => misfits(name, mapping, served));
  if (problems.length > 0) throw new AttributesFileError(problems);
  return createAttributes(mappings);
}

function parse(bytes: Buffer): Record<string, Mapping> {
  try {
    return readMappings('file', bytes);
  } catch (error) {
    throw error instanceof BundleError ? new AttributesFileError(error.problems) : error;
  }
}

function misfits(name: string, mapping: Mapping, served: readonly ServedModel[]): string[] {
  const models = served.filter((model) => model.name === name);
  if (models.length === 0) {
    const names = [...new Set(served.map((model) => model.name))].join(', ');
    return [`${name} is not served; served are: ${names}`];
  }
  return models.flatMap(({ version, manifest: { labels } }) =>
    Object.keys(mapping)
      .filter((label) => !labels.includes(label))
      .map((label) => `${name} ${version} has no label ${label}; its labels are: ${labels.join(', ')}`),
  );
}
