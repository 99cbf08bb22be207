/** Which manifests and golden vectors agree with themselves: the last that do and the first that do not. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { checkGoldenConsistency, checkManifestConsistency, storedFiles } from '../../src/bundle/consistency.ts';
import type { Golden } from '../../src/bundle/golden.ts';
import type { Manifest } from '../../src/bundle/manifest.ts';
import { set, TINY } from '../fixtures/bundle-copy.ts';

const read = <T>(file: string) => JSON.parse(readFileSync(join(TINY, file), 'utf8')) as T;
type Edit = (target: object) => void;

function manifestOf(...edits: readonly Edit[]): Manifest {
  const manifest = read<Manifest>('manifest.json');
  for (const edit of edits) edit(manifest);
  return manifest;
}

const problemsOf = (...edits: readonly Edit[]) => checkManifestConsistency(manifestOf(...edits));

describe('a manifest agrees with itself', () => {
  test('when windows overlap by all but one id', () => {
    assert.deepEqual(problemsOf(set('input.windowOverlap', 13)), []);
    assert.deepEqual(problemsOf(set('input.windowOverlap', 14)), [
      'input.windowOverlap is 14, expected less than the 14 ids that fit one window',
    ]);
  });

  test('when one id fits a window', () => {
    const frame = (ids: number) => [set('input.prefixIds', new Array(ids).fill(2)), set('input.windowOverlap', 0)];
    assert.deepEqual(problemsOf(...frame(14)), []);
    assert.deepEqual(problemsOf(...frame(15)), ['input.maxTokens leaves no room beside prefixIds and suffixIds']);
  });

  test('when thresholds are equal, or recall is', () => {
    const use = (name: string, value: number, recall: number) =>
      set(`thresholds.${name}`, { value, precision: 0.5, recall });
    assert.deepEqual(problemsOf(use('high-precision', 0.5, 0.9), use('balanced', 0.5, 0.5)), [
      'thresholds: high-recall is lower than high-precision and yet recalls less',
    ]);
    assert.deepEqual(problemsOf(use('high-precision', 0.8, 0.5), use('balanced', 0.5, 0.5)), []);
    assert.deepEqual(problemsOf(use('high-precision', 0.5, 0.6), use('balanced', 0.5, 0.5)), []);
  });

  test('when one label of several is not offensive', () => {
    assert.deepEqual(problemsOf(set('labels', ['A', 'B', 'OFF', 'NOT']), set('positiveLabels', ['A', 'B', 'OFF'])), []);
    assert.deepEqual(problemsOf(set('positiveLabels', ['OFF', 'NOT'])), [
      'positiveLabels holds every label: one must mean "not offensive"',
    ]);
  });

  test('when it has no gates at all, and says so', () => {
    const none = [set('gates', []), set('distribution.gates', [])];
    assert.deepEqual(problemsOf(...none, set('method.gate', null)), []);
    assert.deepEqual(problemsOf(...none), []);
  });

  test('when a gate is served or dropped, once', () => {
    assert.deepEqual(problemsOf(set('dropped', [{ layer: 2, module: 'query' }])), []);
    const twice = problemsOf(
      set('gates.1', { layer: 0, module: 'query' }),
      set('gates.2', { layer: 0, module: 'query' }),
    );
    assert.deepEqual(
      twice.filter((problem) => problem.startsWith('gates ')),
      ['gates lists 0/query twice'],
    );
  });

  test('when quantiles and edges stay the same or rise', () => {
    const flat = new Array(101).fill(0.5);
    assert.deepEqual(problemsOf(set('distribution.gates.0.quantiles', { OFF: flat, NOT: flat })), []);
    assert.deepEqual(problemsOf(set('distribution.meanGate', { OFF: flat })), []);
    assert.deepEqual(problemsOf(set('distribution.tokens.edges', [16, 16])), []);
  });

  test('when its distributions are of its labels', () => {
    assert.deepEqual(problemsOf(set('distribution.classes', { OFF: 1, NOT: 1 })), []);
    assert.deepEqual(problemsOf(set('distribution.classes', { BAD: 1 })), [
      'distribution.classes or meanGate names BAD, which is not in labels',
    ]);
    const falling = [0.6, ...new Array(100).fill(0.5)];
    assert.deepEqual(problemsOf(set('distribution.meanGate', { BAD: falling })), [
      'distribution.classes or meanGate names BAD, which is not in labels',
      'distribution.meanGate has quantiles that do not ascend',
    ]);
    assert.deepEqual(problemsOf(set('distribution.meanGate', null)), []);
  });

  test('when each histogram has one edge more than counts', () => {
    for (const counts of [[1], [1, 1, 1]])
      assert.deepEqual(problemsOf(set('distribution.probabilities.OFF.counts', counts)), [
        `distribution histogram OFF has 3 edges for ${counts.length} counts`,
      ]);
  });

  test('when its prompt has a word of its own for every label', () => {
    const prompt = (words: object) => set('input.prompt', { template: '{text}', words });
    assert.deepEqual(problemsOf(prompt({ NOT: 'No', OFF: 'Yes' })), []);
    assert.deepEqual(problemsOf(prompt({ NOT: 'Yes', OFF: 'Yes' })), ['input.prompt answers two labels with Yes']);
  });

  test('when every file is listed once', () => {
    const external = { file: 'weights.bin', sha256: '0'.repeat(64), bytes: 1 };
    assert.deepEqual(problemsOf(set('graphs.0.externalData', [external])), []);
    assert.deepEqual(problemsOf(set('graphs.0.externalData', [external, external])), ['weights.bin is listed twice']);
    assert.deepEqual(problemsOf(set('graphs.0.externalData', [{ ...external, file: 'model.onnx' }])), [
      'model.onnx is listed twice',
    ]);
    assert.deepEqual(problemsOf(set('files', [])), [
      'files does not list tokenizer.json',
      'files does not list tokenizer_config.json',
      'files does not list golden.json',
    ]);
    assert.deepEqual(
      storedFiles(manifestOf(set('graphs.0.externalData', [external]))).map(({ file }) => file),
      ['model.onnx', 'weights.bin', 'README.md', 'golden.json', 'tokenizer.json', 'tokenizer_config.json'],
    );
  });
});

describe('golden vectors fit the manifest', () => {
  const manifest = manifestOf();

  function goldenProblems(edit: Edit = () => {}, of = manifest): readonly string[] {
    const golden = read<Golden>('golden.json');
    edit(golden);
    return checkGoldenConsistency(golden, of);
  }

  test('when no tolerance is over a quarter', () => {
    for (const field of ['probabilities', 'gates']) {
      assert.deepEqual(goldenProblems(set(`tolerance.fp32.${field}`, 0.25)), []);
      assert.deepEqual(goldenProblems(set(`tolerance.fp32.${field}`, 0.26)), [
        'golden.json allows fp32 more than 0.25, which proves nothing',
      ]);
    }
    // Of what no graph has, nothing is asked.
    assert.deepEqual(goldenProblems(set('tolerance.int4', { probabilities: 1, gates: 1 })), []);
  });

  test('when every precision has a tolerance, which is said once', () => {
    const two = manifestOf((m) => {
      const { graphs } = m as { graphs: object[] };
      graphs.push({ ...graphs[0], precision: 'int8' }, { ...graphs[0], precision: 'int8' });
    });
    assert.deepEqual(goldenProblems(undefined, two), ['golden.json has no tolerance for precision int8']);
  });

  const answered = read<Golden>('golden.json').items.findIndex((item) => 'windows' in item);

  test('when windows and their combination have a score for each label and gate', () => {
    for (const place of ['combined', 'windows.0'])
      assert.deepEqual(
        goldenProblems(set(`items.${answered}.${place}`, { ids: [2, 3], probabilities: [1], gates: [] })),
        [
          `golden item ${answered} has 1 probabilities for 2 labels`,
          `golden item ${answered} has 0 gates for 4 columns`,
        ],
      );
  });

  test('when windows begin and end as the input says, and fit', () => {
    const ids = (...own: readonly number[]) => set(`items.${answered}.windows.0.ids`, own);
    const framed = [`golden item ${answered} has a window without prefixIds or suffixIds`];
    assert.deepEqual(goldenProblems(ids(2, 3)), []);
    assert.deepEqual(goldenProblems(ids(9, 3)), framed);
    assert.deepEqual(goldenProblems(ids(2, 9)), framed);
    assert.deepEqual(goldenProblems(ids(2, ...new Array(14).fill(5), 3)), []);
    assert.deepEqual(goldenProblems(ids(2, ...new Array(15).fill(5), 3)), [
      `golden item ${answered} has a window of 17 tokens, maxTokens is 16`,
    ]);
  });

  test('when a text has two windows and each refusal has a text', () => {
    const only = (keep: (item: Golden['items'][number]) => boolean) => (golden: object) => {
      const { items } = golden as { items: Golden['items'][number][] };
      items.splice(0, items.length, ...items.filter(keep));
    };
    assert.deepEqual(goldenProblems(only((item) => 'error' in item || item.windows.length <= 2)), []);
    assert.deepEqual(goldenProblems(only((item) => 'error' in item || item.windows.length === 1)), [
      'golden.json has no text longer than maxTokens',
    ]);
    for (const code of ['empty_after_normalization', 'invalid_unicode'])
      assert.deepEqual(goldenProblems(only((item) => !('error' in item && item.error === code))), [
        `golden.json has no text that is refused with ${code}`,
      ]);
  });
});
