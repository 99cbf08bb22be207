import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { meanGateAt } from '../../src/moderation/gate-threshold.ts';
import { GATED } from '../api/fake-engine.ts';

const constant = (value: number) => Array.from({ length: 101 }, () => value);
const ascending = Array.from({ length: 101 }, (_, percent) => percent / 100);

function manifest(classes: Record<string, number> | undefined, meanGate: Record<string, number[]> | null | undefined) {
  const { classes: _, meanGate: __, ...others } = GATED.manifest.distribution;
  return {
    ...GATED.manifest,
    distribution: {
      ...others,
      ...(classes === undefined ? {} : { classes }),
      ...(meanGate === undefined ? {} : { meanGate }),
    },
  };
}

describe('percentiles of the mean gate', () => {
  it('are those of the one class there is', () => {
    const one = manifest({ NOT: 10 }, { NOT: ascending });
    assert.equal(meanGateAt(one, 0), 0);
    assert.equal(meanGateAt(one, 50), 0.5);
    assert.equal(meanGateAt(one, 99), 0.99);
    assert.equal(meanGateAt(one, 100), 1);
  });

  it('count each class as often as it occurs', () => {
    const two = manifest({ NOT: 90, OFF: 10 }, { NOT: constant(0.2), OFF: constant(0.8) });
    assert.equal(meanGateAt(two, 89.9), 0.2);
    assert.equal(meanGateAt(two, 90.1), 0.8);
  });

  it('are unknown without gates, and for bundles that do not bring them', () => {
    assert.equal(meanGateAt(manifest({ NOT: 1 }, null), 50), undefined);
    assert.equal(meanGateAt(manifest(undefined, undefined), 50), undefined);
    assert.equal(meanGateAt(manifest({ NOT: 1 }, undefined), 50), undefined);
  });
});
