/** Replays the golden vectors of every bundle over HTTP: what PyTorch computed is what a client reads. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import type { ClassifyResult, WholeResponse } from '../../src/api/classify-response.ts';
import type { Golden } from '../../src/bundle/golden.ts';
import type { Manifest } from '../../src/bundle/manifest.ts';
import { MODEL_FOLDERS } from './service.ts';
import { sharedService } from './shared-service.ts';

type Answered = Extract<Golden['items'][number], { windows: unknown }>;
type Scores = Answered['combined'];

/** Answers are rounded to six decimals. */
const ROUNDING = 1e-6;

function read<T>(folder: string, file: string): T {
  return JSON.parse(readFileSync(join(folder, file), 'utf8')) as T;
}

function compare(manifest: Manifest, tolerance: Tolerance, found: Found, expected: Scores) {
  for (const [index, label] of manifest.labels.entries()) {
    const difference = Math.abs((found.probabilities[label] as number) - (expected.probabilities[index] as number));
    assert.ok(difference <= tolerance.probabilities + ROUNDING, `${label} differs by ${difference}`);
  }
  for (const [index, { layer, module }] of manifest.gates.entries()) {
    const gate = found.gates?.layers?.find((entry) => entry.layer === layer)?.[module] as number;
    const difference = Math.abs(gate - (expected.gates[index] as number));
    assert.ok(
      difference <= tolerance.gates + ROUNDING,
      `the gate of ${module} in layer ${layer} differs by ${difference}`,
    );
  }
}

interface Tolerance {
  readonly probabilities: number;
  readonly gates: number;
}
type Found = Pick<ClassifyResult, 'probabilities' | 'gates'>;

for (const folder of MODEL_FOLDERS) {
  const bundles = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  describe('golden vectors over HTTP', () => {
    const shared = sharedService({ MODELS_DIR: folder });

    for (const { name } of bundles) {
      it(`agree with PyTorch for ${name}`, async () => {
        const manifest = read<Manifest>(join(folder, name), 'manifest.json');
        const golden = read<Golden>(join(folder, name), 'golden.json');
        const { classify, url } = shared();
        const { models } = (await (await fetch(`${url}/models`)).json()) as {
          models: { name: string; precision: string }[];
        };
        const precision = models.find((model) => model.name === manifest.name)?.precision as keyof Golden['tolerance'];
        const tolerance = golden.tolerance[precision] as Tolerance;
        const answered: Answered[] = [];

        for (const item of golden.items) {
          const answer = await classify({ text: item.text, model: manifest.name, windows: true });
          if ('error' in item) {
            assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [422, item.error]);
            continue;
          }
          answered.push(item);
          const [result] = ((await answer.json()) as WholeResponse).results as [ClassifyResult];
          assert.equal(result.windows, item.windows.length);
          compare(manifest, tolerance, result, item.combined);
          for (const [index, window] of item.windows.entries()) {
            const found = result.windowResults?.[index] ?? assert.fail();
            assert.equal(found.tokens, window.ids.length);
            compare(manifest, tolerance, found, window);
          }
        }

        const together = await classify({ texts: answered.map(({ text }) => text), model: manifest.name });
        const { results } = (await together.json()) as WholeResponse;
        for (const [index, item] of answered.entries()) {
          compare(manifest, tolerance, results[index] ?? assert.fail(), item.combined);
        }
        assert.ok(answered.length >= 20);
      });
    }

    it('leave a service that ends with 0', async () => assert.equal(await shared().stop(), 0));
  });
}
