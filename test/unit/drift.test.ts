import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Registry } from 'prom-client';

import type { Manifest } from '../../src/bundle/manifest.ts';
import type { ServedModel } from '../../src/engine/types.ts';
import { binOf, driftColumns } from '../../src/observability/drift/bins.ts';
import { createDrift } from '../../src/observability/drift/drift.ts';
import { driftMetrics } from '../../src/observability/drift/metrics.ts';
import { createDriftWindow, stabilityIndex } from '../../src/observability/drift/window.ts';

const manifest = JSON.parse(
  readFileSync(new URL('../../models/olid-minilm/manifest.json', import.meta.url), 'utf8'),
) as Manifest;
const model = { name: manifest.name, version: manifest.version, manifest } as ServedModel;
const columns = driftColumns(manifest);
const LIMITS = { driftWindowTexts: 2_000, driftWindowMinutes: 60, driftMinTexts: 500 };

/** Between 0 and 1, evenly, in an order that repeats no pattern of the window. */
const spread = (k: number) => (k * 0.618_033_988_749_895) % 1;

/** The value below which a share of the development texts of all classes lies, by looking for it. */
function developmentGate(index: number, share: number): number {
  const { quantiles } = manifest.distribution.gates[index] as Manifest['distribution']['gates'][number];
  const { classes = {} } = manifest.distribution;
  const total = Object.values(classes).reduce((sum, one) => sum + one, 0);
  let left = share * total;
  for (const [name, own] of Object.entries(quantiles)) {
    const count = classes[name] ?? 0;
    if (left < count) return own[Math.round((left / count) * 100)] as number;
    left -= count;
  }
  return 1;
}

function developmentText(k: number) {
  const { edges, counts } = manifest.distribution.probabilities.OFF as { edges: number[]; counts: number[] };
  let left = spread(k) * manifest.distribution.n;
  let cell = 0;
  while (left >= (counts[cell] as number)) left -= counts[cell++] as number;
  const off = (edges[cell] as number) + 0.01;
  return {
    probabilities: [1 - off, off],
    gates: manifest.gates.map((_, index) => developmentGate(index, spread(k * 7 + index))),
    tokens: 20,
  };
}

describe('bins of the development distribution', () => {
  it('hold about a tenth each, whatever the column', () => {
    assert.deepEqual(new Set(columns.map(({ of }) => of)), new Set(['probability', 'gate', 'tokens']));
    for (const { of, name, edges, expected } of columns) {
      assert.equal(expected.length, edges.length + 1);
      assert.ok(edges.length >= 4 && edges.length <= 9, `${of} ${name}: ${edges.length}`);
      assert.ok(Math.abs(expected.reduce((sum, share) => sum + share, 0) - 1) < 1e-9);
      assert.ok(Math.min(...expected) > 0.05, `${of} ${name}: ${expected}`);
      assert.deepEqual(
        [...edges].sort((one, other) => one - other),
        edges,
      );
    }
  });

  it('are none where the bundle knows one value only, or none', () => {
    const one = Array.from({ length: 101 }, () => 0.5);
    const bare = structuredClone(manifest);
    bare.distribution.probabilities = { OFF: { edges: [0, 0.5, 1], counts: [0, 0] } };
    bare.distribution.tokens = { edges: [0, 8], counts: [9] };
    for (const gate of bare.distribution.gates) gate.quantiles = { NOT: one, OFF: one };
    assert.deepEqual(driftColumns(bare), []);
    const drift = createDrift({ ...LIMITS, driftMinTexts: 1 }, () => 0);
    const bareModel = { ...model, manifest: bare };
    drift.observe(bareModel, { probabilities: [0, 1], gates: bare.gates.map(() => 0), tokens: 1 });
    assert.deepEqual(drift.report(bareModel), {
      texts: 1,
      indexes: { probabilities: [], gates: [], tokens: undefined },
    });
  });

  it('take every value, also one that the development split never had', () => {
    for (const column of columns) {
      assert.equal(binOf(column, -5), 0);
      assert.equal(binOf(column, 1e9), column.edges.length);
    }
  });
});

describe('the stability index', () => {
  it('is that of the textbook', () => {
    // (0.3 - 0.5) ln(0.3 / 0.5) + (0.7 - 0.5) ln(0.7 / 0.5), with many texts so that half a text is nothing.
    const exact = -0.2 * Math.log(0.6) + 0.2 * Math.log(1.4);
    assert.ok(Math.abs(stabilityIndex([0.5, 0.5], [3e6, 7e6]) - exact) < 1e-5);
  });

  it('is about (bins - 1) / n for samples of the same distribution', () => {
    const n = 500;
    let seed = 1;
    const random = () => {
      seed = (seed * 16_807) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    const expected = new Array<number>(10).fill(0.1);
    const found = Array.from({ length: 400 }, () => {
      const counts = new Array<number>(10).fill(0);
      for (let k = 0; k < n; k++) {
        const bin = Math.floor(random() * 10);
        counts[bin] = (counts[bin] as number) + 1;
      }
      return stabilityIndex(expected, counts);
    });
    const mean = found.reduce((sum, one) => sum + one, 0) / found.length;
    assert.ok(Math.abs(mean / (9 / n) - 1) < 0.1, String(mean));
  });
});

describe('the window', () => {
  it('counts what a plain list of the last texts counts', () => {
    const texts = fc.array(
      fc.record({ wait: fc.integer({ min: 0, max: 30 }), off: fc.double({ min: 0, max: 1, noNaN: true }) }),
    );
    fc.assert(
      fc.property(texts, fc.integer({ min: 1, max: 20 }), (all, most) => {
        const window = createDriftWindow(columns, most, 100);
        const kept: { at: number; off: number }[] = [];
        const gates = manifest.gates.map(() => 0.7);
        let now = 0;
        for (const { wait, off } of all) {
          now += wait;
          window.add({ probabilities: [1 - off, off], gates, tokens: 9 }, now);
          kept.push({ at: now, off });
          const expected = kept.filter(({ at }) => now - at <= 100).slice(-most);
          assert.equal(window.size(now), expected.length);
          const k = columns.findIndex(({ of, name }) => of === 'probability' && name === 'OFF');
          const column = columns[k] as (typeof columns)[number];
          const counts = new Array<number>(column.expected.length).fill(0);
          for (const one of expected) {
            const bin = binOf(column, one.off);
            counts[bin] = (counts[bin] as number) + 1;
          }
          assert.equal(window.indexes(now)[k], stabilityIndex(column.expected, counts));
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe('drift', () => {
  it('is low for texts like those of development and high for others', () => {
    const drift = createDrift(LIMITS, () => 0);
    for (let k = 0; k < 2_000; k++) drift.observe(model, developmentText(k));
    const quiet = drift.report(model).indexes ?? assert.fail();
    assert.equal(quiet.gates.length, 6);
    for (const { psi } of [...quiet.probabilities, ...quiet.gates]) assert.ok(psi < 0.05, JSON.stringify(quiet));
    // One length for all is not what development had.
    assert.ok((quiet.tokens ?? 0) > 1);
    for (let k = 0; k < 2_000; k++)
      drift.observe(model, { probabilities: [0.99, 0.01], gates: manifest.gates.map(() => 0.3), tokens: 20 });
    const loud = drift.report(model).indexes ?? assert.fail();
    for (const { psi } of [...loud.probabilities, ...loud.gates]) assert.ok(psi > 0.25, JSON.stringify(loud));
  });

  it('is told only with enough texts, and forgets old ones', () => {
    let now = 0;
    const drift = createDrift(LIMITS, () => now);
    assert.deepEqual(drift.report(model), { texts: 0 });
    for (let k = 0; k < 499; k++) drift.observe(model, developmentText(k));
    assert.deepEqual(drift.report(model), { texts: 499 });
    drift.observe(model, developmentText(499));
    assert.notEqual(drift.report(model).indexes, undefined);
    now = 60 * 60_000 + 1;
    assert.deepEqual(drift.report(model), { texts: 0 });
  });

  it('is worked out once a scrape, and anew at the next', async () => {
    const drift = createDrift({ ...LIMITS, driftMinTexts: 1 }, () => 0);
    let reports = 0;
    const counted = {
      report: (of: ServedModel) => {
        reports++;
        return drift.report(of);
      },
    };
    const registry = new Registry();
    for (const metric of driftMetrics(counted, { models: () => [model] })) registry.registerMetric(metric);
    const texts = async () => /^dslora_drift_texts\{.*\} (\d+)$/m.exec(await registry.metrics())?.[1];
    drift.observe(model, developmentText(0));
    assert.equal(await texts(), '1');
    assert.equal(reports, 1);
    drift.observe(model, developmentText(1));
    assert.equal(await texts(), '2');
    assert.equal(reports, 2);
    const names = [...(await registry.metrics()).matchAll(/^(dslora_drift_\w+)\{/gm)].map(([, name]) => name);
    assert.equal(new Set(names).size, 4);
  });

  it('is not followed with a window of no texts', () => {
    const drift = createDrift({ ...LIMITS, driftWindowTexts: 0 }, () => 0);
    drift.observe(model, developmentText(0));
    assert.deepEqual(drift.report(model), { texts: 0 });
  });
});
