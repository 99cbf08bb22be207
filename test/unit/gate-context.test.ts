import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Manifest } from '../../src/bundle/manifest.ts';
import { gateContext, meanGateAt } from '../../src/moderation/gate-context.ts';
import { GATED } from '../api/fake-engine.ts';

const gates = [{ layer: 0, module: 'query' }];

/** Linear between order statistics, as NumPy's default. */
function quantiles(values: readonly number[]): number[] {
  const sorted = [...values].sort((one, two) => one - two);
  return Array.from({ length: 101 }, (_, percent) => {
    const position = (percent / 100) * (sorted.length - 1);
    const below = sorted[Math.floor(position)] as number;
    const above = sorted[Math.ceil(position)] as number;
    return below + (above - below) * (position % 1);
  });
}

function manifestOf(byClass: Record<string, readonly number[]>, counted = true): Manifest {
  const own = Object.fromEntries(Object.entries(byClass).map(([name, values]) => [name, quantiles(values)]));
  const classes = Object.fromEntries(Object.entries(byClass).map(([name, values]) => [name, values.length]));
  const { classes: _, meanGate: __, ...rest } = GATED.manifest.distribution;
  const distribution = { ...rest, gates: [{ layer: 0, module: 'query', quantiles: own }] };
  return {
    ...GATED.manifest,
    gates,
    distribution: { ...distribution, ...(counted ? { classes, meanGate: own } : {}) },
  };
}

describe('gates in context', () => {
  it('rank a gate among all texts, each class by its share', () => {
    const byClass = {
      NOT: Array.from({ length: 900 }, (_, i) => (i / 900) ** 2),
      OFF: Array.from({ length: 100 }, (_, i) => 0.5 + i / 200),
    };
    const all = Object.values(byClass).flat();
    const rank = gateContext(manifestOf(byClass));
    for (const value of [0.01, 0.2, 0.5, 0.61, 0.93]) {
      const expected = (100 * all.filter((one) => one < value).length) / all.length;
      const { mean, columns } = rank([value]);
      assert.ok(Math.abs((columns[0] as number) - expected) < 0.5, `${columns[0]} for ${expected}`);
      assert.equal(mean, columns[0]);
    }
  });

  it('end at 0 and 100, and give a value that many share the middle of its ranks', () => {
    const byClass = { NOT: [0.2, ...Array(98).fill(0.5), 0.8], OFF: [0.2, ...Array(98).fill(0.5), 0.8] };
    const rank = gateContext(manifestOf(byClass));
    assert.deepEqual(
      [0.1, 0.5, 0.9].map((value) => rank([value]).columns[0]),
      [0, 50, 100],
    );
  });

  it('weigh classes alike where a bundle counts none, and know nothing of its mean', () => {
    const byClass = { NOT: Array(90).fill(0.1), OFF: Array(10).fill(0.9) };
    const rank = gateContext(manifestOf(byClass, false));
    assert.deepEqual(rank([0.5]), { mean: undefined, columns: [50] });
    assert.deepEqual(gateContext(manifestOf(byClass))([0.5]).columns, [90]);
  });

  it('say nothing for a model without gates', () => {
    assert.deepEqual(gateContext({ ...GATED.manifest, gates: [] })([]), { mean: undefined, columns: [] });
  });
});

describe('the mean gate at a percentile', () => {
  const byClass = {
    NOT: Array.from({ length: 900 }, (_, i) => (i / 900) ** 2),
    OFF: Array.from({ length: 100 }, (_, i) => 0.5 + i / 200),
  };

  it('has that percentile', () => {
    const manifest = manifestOf(byClass);
    const rank = gateContext(manifest);
    for (const percentile of [10, 50, 75, 90, 95, 99.5]) {
      assert.equal(rank([meanGateAt(manifest, percentile) as number]).mean, percentile);
    }
  });

  it('is the one that many texts share, whatever the percentile within them', () => {
    const manifest = manifestOf({ NOT: Array(90).fill(0.2), OFF: Array(10).fill(0.8) });
    assert.equal(meanGateAt(manifest, 89.9), 0.2);
    assert.equal(meanGateAt(manifest, 90.1), 0.8);
  });

  it('is unknown without gates, and for bundles that do not say how means are distributed', () => {
    const manifest = manifestOf(byClass);
    assert.equal(meanGateAt({ ...manifest, gates: [] }, 50), undefined);
    assert.equal(meanGateAt(manifestOf(byClass, false), 50), undefined);
    const distribution = { ...manifest.distribution, meanGate: null };
    assert.equal(meanGateAt({ ...manifest, distribution }, 50), undefined);
  });
});
