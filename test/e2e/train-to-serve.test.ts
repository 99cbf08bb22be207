/** The whole path: train a small model for real, export it, serve it, and compare its answers with PyTorch's. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import type { WholeResponse } from '../../src/api/classify-response.ts';
import { TRAINING } from '../runner/python-environment.ts';
import { startService } from './service.ts';

const PYTHON = TRAINING.python;
const PREDICT = fileURLToPath(new URL('./predict.py', import.meta.url));
const MISSING = !existsSync(PYTHON) && 'training/.venv is missing; npm test makes it';

/** float32 graphs are held to this; answers are rounded to six decimals. */
const TOLERANCE = 1e-4 + 1e-6;

/** Timing every layout to choose one takes longer than the training. */
const LAYOUT = process.env.DSLORA_TEST_FULL ? [] : ['--layout', 'k-concat'];

const SUBJECTS = ['My neighbour', 'The new teacher', 'Our mayor', 'This driver', 'The coach', 'Everyone here'];
const KIND = [
  'is kind and helpful',
  'did a wonderful job',
  'made us all smile',
  'is patient',
  'deserves a big thank you',
];
const RUDE = ['is a complete idiot', 'is a stupid clown', 'is dumb as a rock', 'is a pathetic loser', 'is such a fool'];
const ENDINGS = ['at the meeting', 'on Monday', 'as always', 'if you ask me', '@friend', 'again!', 'in the park', '😀'];

/** 480 posts of our own, half of them rude, as JSON Lines. */
function trainingData(): string {
  const rows = SUBJECTS.flatMap((subject) =>
    ENDINGS.flatMap((ending) => [
      ...KIND.map((middle) => ({ text: `${subject} ${middle} ${ending}`, label: 'NOT' })),
      ...RUDE.map((middle) => ({ text: `${subject} ${middle} ${ending}`, label: 'OFF' })),
    ]),
  );
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

/** Posts of another shape than the training data, one of them longer than the model reads at once. */
const POSTS = [
  'Thank you all, what a lovely evening!',
  'You absolute IDIOT, see https://example.org/x',
  '@someone &amp; @other: 3 times is enough',
  'ты дурак',
  '😀😀',
  'The coach is patient and the driver is a clown. '.repeat(40),
];

interface Reference {
  readonly labels: readonly string[];
  readonly probabilities: readonly (readonly number[])[];
  readonly gates: readonly Readonly<Record<string, number>>[];
  readonly windows: readonly number[];
}

function python(args: readonly string[], input?: string): string {
  const { status, stdout, stderr } = spawnSync(PYTHON, args, { encoding: 'utf8', input, maxBuffer: 1 << 26 });
  assert.equal(status, 0, `${stdout}${stderr}`);
  return stdout;
}

describe('from training to serving', () => {
  it('answers as PyTorch does', { skip: MISSING }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'train-to-serve-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const [data, run, models] = ['posts.jsonl', 'run', 'models'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(data, trainingData());
    python(
      [
        ['-m', 'dslora.cli', 'pipeline', '--quiet', '--data', data, '--positive-labels', 'OFF'],
        // 216 posts to compare graphs on; export wants 200.
        ['--development-fraction', '0.45', '--splits', 'development', '--epochs', '1'],
        ['--out', run, '--bundle', join(models, 'trained'), '--graphs', 'fp32', ...LAYOUT],
      ].flat(),
    );
    const reference = JSON.parse(python([PREDICT, run], JSON.stringify(POSTS))) as Reference;

    const service = await startService(t, { MODELS_DIR: models });
    const answer = await service.classify({ texts: POSTS, model: 'trained' });
    const { results } = (await answer.json()) as WholeResponse;
    assert.equal(answer.status, 200);
    assert.equal(results.length, POSTS.length);
    for (const [index, { probabilities, gates, windows }] of results.entries()) {
      assert.equal(windows, reference.windows[index]);
      for (const [column, label] of reference.labels.entries()) {
        const expected = reference.probabilities[index]?.[column] as number;
        assert.ok(Math.abs((probabilities[label] as number) - expected) <= TOLERANCE, `${label} of post ${index}`);
      }
      assert.ok(gates?.layers !== undefined && gates.layers.length > 0);
      for (const { layer, ...modules } of gates.layers) {
        for (const [module, gate] of Object.entries(modules)) {
          const expected = reference.gates[index]?.[`${layer}/${module}`] as number;
          assert.ok(Math.abs(gate - expected) <= TOLERANCE, `${module} in layer ${layer} of post ${index}`);
        }
      }
    }
    assert.ok((results.at(-1)?.windows ?? 0) > 1, 'the long post takes several windows');
    assert.equal(await service.stop(), 0);
  });
});
