/** The schemas that others validate against, training and editors, say what the service checks. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { ManifestSchema } from '../../src/bundle/manifest.ts';
import { PolicySchema } from '../../src/moderation/policy.ts';

const SCHEMAS = [
  ['bundle/manifest.schema.json', ManifestSchema],
  ['moderation/policy.schema.json', PolicySchema],
] as const;

for (const [file, schema] of SCHEMAS)
  test(`${file} is what the service checks`, async () => {
    const stated: unknown = JSON.parse(await readFile(new URL(`../../src/${file}`, import.meta.url), 'utf8'));
    assert.deepEqual(JSON.parse(JSON.stringify(schema)), stated);
  });
