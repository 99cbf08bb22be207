import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { describe, test } from 'node:test';

import type { HeldBundle } from '../../src/bundle/load.ts';
import { graphSpec, type ProviderOption, TrialError } from '../../src/engine/trial.ts';

/** In the order in which `dslora export` writes them: training/src/dslora/export/precisions.py. */
const EXPORTED = [
  { file: 'model.fp16.onnx', executionProviders: ['cuda'], externalData: [] },
  { file: 'model.int8.onnx', executionProviders: ['cpu'], externalData: [] },
  { file: 'model.int4.onnx', executionProviders: ['cpu', 'cuda'], externalData: [] },
  { file: 'model.fp32.onnx', executionProviders: ['cpu', 'cuda'], externalData: [] },
];

function chosen(provider: ProviderOption, graphs: readonly object[] = EXPORTED): string[] {
  const bundle = {
    files: { get: (file: string) => ({ path: `/models/one/${file}`, descriptor: 3, size: 1, modifiedMs: 1 }) },
    manifest: { graphs, input: { padId: 0, maxTokens: 128 }, labels: ['NOT', 'OFF'], gates: [] },
  } as unknown as HeldBundle;
  const { choices } = graphSpec('one', bundle, { provider, cudaDevice: 0, threads: 1 });
  return choices.map(({ graph, executionProvider }) => `${executionProvider} ${basename(graph.path)}`);
}

describe('the graph that a provider runs', () => {
  test('is fp16 on CUDA and int8 on a CPU', () => {
    assert.deepEqual(chosen('cpu'), ['cpu model.int8.onnx']);
    assert.deepEqual(chosen('cuda'), ['cuda model.fp16.onnx']);
    assert.deepEqual(chosen('auto'), ['cuda model.fp16.onnx', 'cpu model.int8.onnx']);
  });

  test('is the next one where the bundle lacks these', () => {
    const [half, int8, int4, full] = EXPORTED as [object, object, object, object];
    assert.deepEqual(chosen('auto', [int4, full]), ['cuda model.int4.onnx', 'cpu model.int4.onnx']);
    assert.deepEqual(chosen('auto', [int8, full]), ['cuda model.fp32.onnx', 'cpu model.int8.onnx']);
    assert.deepEqual(chosen('auto', [half]), ['cuda model.fp16.onnx']);
    assert.throws(() => chosen('cpu', [half]), TrialError);
  });
});
