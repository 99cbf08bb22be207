import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { sharedService } from '../shared-service.ts';
import { assertClose, type NativeScores, nativeScores, TEXTS } from './native.ts';
import { MISSING_PYTHON, runPythonClient } from './python-client.ts';

interface Outputs {
  readonly probabilities: readonly (readonly number[])[];
  readonly gates: readonly (readonly number[])[];
  readonly label: readonly string[];
}

const KEY = 'an-admin-key';

function assertNative(found: Outputs, native: readonly NativeScores[]): void {
  assert.equal(found.label.length, native.length);
  for (const [index, { label, probabilities, gates }] of native.entries()) {
    assertClose(found.probabilities[index] as number[], Object.values(probabilities));
    assertClose(found.gates[index] as number[], gates);
    assert.equal(found.label[index], label);
  }
}

describe('clients of the Open Inference Protocol', { skip: MISSING_PYTHON }, () => {
  const shared = sharedService({ ADMIN_KEY: KEY });

  it('tritonclient gets the same scores in JSON and in binary, and may administrate with the key', async () => {
    const { url } = shared();
    const native = await nativeScores(url, TEXTS);
    const { results, classes, ...answer } = (await runPythonClient('triton_client.py', url, {
      texts: TEXTS,
      key: KEY,
    })) as {
      results: (Outputs & { offensive: number[] })[];
      classes: string[];
    };
    assert.equal(results.length, 8);
    for (const result of results) {
      assertNative(result, native);
      assertClose(
        result.offensive,
        native.map(({ offensive }) => offensive),
      );
    }
    assert.deepEqual(
      classes,
      native.map(({ label, probabilities }) => {
        return `${probabilities[label]}:${Object.keys(probabilities).indexOf(label)}:${label}`;
      }),
    );
    const { needed, ...others } = answer as { needed?: string[] };
    assert.equal(needed?.[0], '409');
    assert.match(needed[1] ?? '', /last model/);
    assert.deepEqual(others, {
      live: true,
      ready: true,
      modelReady: [true, true, false],
      extensions: ['binary_tensor_data', 'classification', 'model_configuration', 'model_repository'],
      inputs: [{ name: 'text', datatype: 'BYTES', shape: [-1] }],
      platform: 'onnxruntime_onnx',
      echo: ['id-7', 'tiny', '1.0.0'],
      unknown: ['404', 'No served model has that name'],
      statistics: ['404', 'This part of the protocol is not spoken. Statistics are at `/metrics`.'],
      index: [['tiny', 'READY']],
      noKey: ['401', 'The key is missing or wrong'],
      withConfig: ['400', 'A bundle brings its own configuration and files; no parameters are taken. (/parameters)'],
      afterLoad: true,
    });
  });

  it('the KServe SDK gets the same scores in JSON and in binary', async () => {
    const { url } = shared();
    const native = await nativeScores(url, TEXTS);
    const { results, ...answer } = (await runPythonClient('kserve_sdk.py', url, TEXTS)) as {
      results: (Outputs & { id: string })[];
    };
    assert.equal(results.length, 2);
    for (const result of results) {
      assertNative(result, native);
      assert.equal(result.id, 'id-7');
    }
    assert.deepEqual(answer, {
      live: true,
      ready: true,
      modelReady: [true, false],
      error: 'No served model has that name',
    });
  });
});
