/**
 * Writes `manifest.schema.json` from manifest.ts.
 *
 *     node src/bundle/write-schema.ts           write it
 *     node src/bundle/write-schema.ts --check   exit 1 when the committed file differs
 */
import { readFileSync, writeFileSync } from 'node:fs';

import { ManifestSchema } from './manifest.ts';

const target = new URL('manifest.schema.json', import.meta.url);
const expected = `${JSON.stringify(ManifestSchema, null, 2)}\n`;

if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== expected) {
    console.error(
      'src/bundle/manifest.schema.json differs from manifest.ts: run `npm run schema` and commit the result.',
    );
    process.exitCode = 1;
  }
} else {
  writeFileSync(target, expected);
}
