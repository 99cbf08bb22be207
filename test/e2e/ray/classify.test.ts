/** examples/ray on a local cluster of two processors answers as the service does. Takes long: `npm run test:full`. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import type { ClassifyResponse } from '../../../src/api/classify-response.ts';
import type { Golden } from '../../../src/bundle/golden.ts';
import { RAY } from '../../runner/python-environment.ts';
import { FIXTURES, startService } from '../service.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const ROWS_SCRIPT = fileURLToPath(new URL('./rows.py', import.meta.url));

/** Largest difference to the service: fp32 differs in the last bits, int8 by what its golden vectors allow. */
const MODELS = [
  { folder: FIXTURES, name: 'tiny', tolerance: () => 1e-5 },
  { folder: `${ROOT}models`, name: 'olid-minilm', tolerance: ({ tolerance }: Golden) => tolerance.int8?.probabilities },
];

interface Row {
  readonly id: number;
  readonly text: string | null;
  readonly label: string | null;
  readonly gate_mean: number | null;
  readonly error: string | null;
  readonly [probability: `probability_${string}`]: number;
}

function python(args: readonly string[], input?: string): string {
  const env = { ...process.env, PYTHONPATH: `${ROOT}training/src`, RAY_USAGE_STATS_ENABLED: '0' };
  const { status, stdout, stderr } = spawnSync(RAY.python, args, { encoding: 'utf8', input, env, maxBuffer: 1 << 26 });
  assert.equal(status, 0, stderr);
  return stdout;
}

if (process.env.DSLORA_TEST_FULL) {
  describe('the Ray job', () => {
    for (const { folder, name, tolerance } of MODELS) {
      it(`answers as the service does with ${name}`, async (t) => {
        const bundle = join(folder, name);
        const golden = JSON.parse(readFileSync(join(bundle, 'golden.json'), 'utf8')) as Golden;
        const allowed = tolerance(golden) ?? assert.fail('the bundle states no tolerance');
        // A lone surrogate has no place in Parquet.
        const texts = golden.items.map(({ text }) => text).filter((text) => text.isWellFormed());
        const at = await mkdtemp(join(tmpdir(), 'ray-'));
        t.after(() => rm(at, { recursive: true }));
        python([ROWS_SCRIPT, 'write', join(at, 'in.parquet')], JSON.stringify(texts.map((text, id) => ({ id, text }))));
        python([
          `${ROOT}examples/ray/classify.py`,
          bundle,
          join(at, 'in.parquet'),
          join(at, 'out'),
          '--processes',
          '1',
        ]);
        const rows = JSON.parse(python([ROWS_SCRIPT, 'read', join(at, 'out')])) as Row[];
        rows.sort((one, other) => one.id - other.id);

        const service = await startService(t, { MODELS_DIR: folder });
        const answer = await service.classify({ texts, model: name, onError: 'item' });
        const { results } = (await answer.json()) as ClassifyResponse;
        assert.equal(rows.length, texts.length);
        for (const [i, result] of results.entries()) {
          const row = rows[i] ?? assert.fail();
          assert.equal(row.text, texts[i]);
          if ('error' in result) {
            assert.equal(row.error, texts[i] === '' ? 'no_text' : result.error.code);
            continue;
          }
          assert.equal(row.error, null);
          for (const [label, probability] of Object.entries(result.probabilities)) {
            const difference = Math.abs((row[`probability_${label}`] as number) - probability);
            assert.ok(difference <= allowed, `${label} of text ${i} differs by ${difference}`);
          }
        }
        assert.ok(
          results.some((result) => 'error' in result) &&
            results.some((result) => !('error' in result) && result.windows > 1),
        );
      });
    }
  });
}
