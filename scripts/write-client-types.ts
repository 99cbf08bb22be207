/**
 * Writes the TypeScript client's types from `openapi/openapi.json`.
 *
 *     npm run client              write them
 *     npm run client -- --check   exit 1 when the committed file differs
 *
 * The generator stands beside the client, because it needs a TypeScript of its own: it works on the compiler's
 * programming interface, which TypeScript 7 does not have.
 */
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { keepGenerated } from './generated-file.ts';

const GENERATOR = fileURLToPath(
  new URL('../clients/typescript/node_modules/openapi-typescript/bin/cli.js', import.meta.url),
);

interface Schema {
  readonly properties?: Readonly<Record<string, unknown>>;
  readonly oneOf?: readonly { readonly required?: readonly string[]; readonly properties?: unknown }[];
}

/**
 * `oneOf: [{required: ['text']}, {required: ['texts']}]` says which property must be there. The generator makes a type
 * without any property of it, unless the property stands there too.
 */
function spellOut(_key: string, value: unknown): unknown {
  const { properties, oneOf } = (value ?? {}) as Schema;
  if (properties === undefined || !Array.isArray(oneOf)) return value;
  return {
    ...(value as object),
    oneOf: (oneOf as NonNullable<Schema['oneOf']>).map((branch) => {
      if (branch.required === undefined || branch.properties !== undefined) return branch;
      return { ...branch, properties: Object.fromEntries(branch.required.map((name) => [name, properties[name]])) };
    }),
  };
}

const document = await readFile(new URL('../openapi/openapi.json', import.meta.url), 'utf8');
const input = JSON.stringify(JSON.parse(document, spellOut));
// What has a default may be left out of a request.
const { status, stdout, stderr } = spawnSync(process.execPath, [GENERATOR, '--default-non-nullable=false'], {
  input,
  encoding: 'utf8',
  maxBuffer: 64 * 1024 * 1024,
});
if (status !== 0) throw new Error(`openapi-typescript failed:\n${stderr}`);
await keepGenerated(new URL('../clients/typescript/src/openapi.ts', import.meta.url), 'npm run client', () => stdout);
