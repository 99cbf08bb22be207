import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { divergenceOf } from '../../src/engine/shadow.ts';
import type { ServedModel, ShadowEvent, TextResult } from '../../src/engine/types.ts';
import { createMetrics } from '../../src/observability/metrics.ts';
import { copyTiny, modelsFolder } from '../fixtures/bundle-copy.ts';
import { startEngine, until } from '../fixtures/tiny-engine.ts';

const TEXTS = ['you are kind', 'idiot', 'you are a fool'];

/** Versions 1 and 2 of the tiny model, and version 1 shadowed by 2. */
async function shadowed(t: TestContext, share: number) {
  const models = await modelsFolder(t);
  await copyTiny(models, 'one', (m) => void Object.assign(m, { version: '1' }));
  await copyTiny(models, 'two', (m) => {
    m.version = '2';
    m.createdAt = '2030-01-01T00:00:00Z';
    // Everything is offensive to it.
    m.thresholds.balanced.value = 0;
    m.thresholds['high-recall'].value = 0;
    for (const use of Object.values(m.thresholds) as { recall: number }[]) use.recall = 0.5;
  });
  const events: ShadowEvent[] = [];
  const metrics = createMetrics({ process: false });
  const observer = {
    ...metrics.observer,
    shadowed(event: ShadowEvent) {
      metrics.observer.shadowed?.(event);
      events.push(event);
    },
  };
  const shadows = [{ model: 'tiny@1', shadow: 'tiny@2', share }];
  const { engine } = await startEngine(t, { modelsDir: models, defaultModel: 'tiny@1', shadows, observer });
  return { engine, events, metrics };
}

describe('shadow', () => {
  test('a second version sees the texts of the first, answers stay as they are, and metrics tell the difference', async (t) => {
    const { engine, events, metrics } = await shadowed(t, 1);
    const { model, results } = await engine.classify({ texts: TEXTS });
    assert.equal(model.version, '1');
    await until(() => events.length === TEXTS.length);
    const flagged = results.map(
      ({ probabilities }) => (probabilities[1] as number) >= model.manifest.thresholds.balanced.value,
    );
    for (const [i, { model: of, shadow, outcome, divergence }] of events.entries()) {
      assert.deepEqual([of.version, shadow.version, outcome], ['1', '2', 'compared']);
      assert.equal(divergence?.labelFlip, false);
      assert.equal(divergence?.flagFlip, !flagged[i]);
      // The same graph, so that only the batch may differ.
      assert.ok((divergence?.probabilities ?? 1) < 1e-5 && (divergence?.gates ?? 1) < 1e-5);
    }
    const pair = 'model="tiny",version="1",shadow="tiny",shadow_version="2"';
    const exposed = await metrics.expose();
    assert.match(exposed, new RegExp(`dslora_shadow_texts_total\\{${pair},outcome="compared"\\} 3`));
    assert.match(exposed, new RegExp(`dslora_shadow_flips_total\\{${pair},kind="label"\\} 0`));
    const flips = flagged.filter((own) => !own).length;
    assert.match(exposed, new RegExp(`dslora_shadow_flips_total\\{${pair},kind="flag"\\} ${flips}`));
    assert.match(exposed, new RegExp(`dslora_shadow_difference_count\\{${pair},of="gates"\\} 3`));
    // What is asked of the shadow itself has no shadow.
    await engine.classify({ model: 'tiny@2', texts: TEXTS });
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(events.length, TEXTS.length);
  });

  test('under load it is dropped, and counted', async (t) => {
    const { engine, events } = await shadowed(t, 1);
    const requests = 200;
    const answers = await Promise.all(Array.from({ length: requests }, () => engine.classify({ texts: TEXTS })));
    assert.ok(answers.every(({ model }) => model.version === '1'));
    await until(() => events.length === requests * TEXTS.length);
    const dropped = events.filter(({ outcome }) => outcome === 'dropped').length;
    assert.ok(dropped > 0, `${dropped} dropped`);
    assert.ok(events.every(({ outcome }) => outcome !== 'failed'));
  });

  test('a share of the texts is taken', async (t) => {
    const { engine, events } = await shadowed(t, 0.1);
    for (let i = 0; i < 20; i++) await engine.classify({ texts: new Array(20).fill('kind') });
    await engine.close();
    // 400 texts at 0.1: 5 standard deviations are 30.
    assert.ok(events.length > 5 && events.length < 75, `${events.length} of 400`);
  });
});

describe('divergence', () => {
  const model = (labels: string[], gates: { layer: number; module: string }[], threshold = 0.5) =>
    ({
      manifest: { labels, positiveLabels: [labels.at(-1)], gates, thresholds: { balanced: { value: threshold } } },
    }) as unknown as ServedModel;
  const answer = (probabilities: number[], gates: number[]): TextResult => ({
    tokens: 3,
    probabilities,
    gates,
    windows: [],
  });
  const query = { layer: 0, module: 'query' };
  const value = { layer: 0, module: 'value' };

  test('is the mean absolute difference, and a flip where the class or the flag differs', () => {
    const a = model(['NOT', 'OFF'], [query, value]);
    const found = divergenceOf(a, answer([0.6, 0.4], [0.1, 0.9]), a, answer([0.3, 0.7], [0.2, 0.5]));
    assert.deepEqual([found.labelFlip, found.flagFlip], [true, true]);
    assert.ok(Math.abs((found.probabilities ?? 0) - 0.3) < 1e-12);
    assert.ok(Math.abs((found.gates ?? 0) - 0.25) < 1e-12);
  });

  test('is told only of what can be compared', () => {
    const two = model(['NOT', 'OFF'], [query]);
    const three = model(['normal', 'rude', 'hate'], [value]);
    const found = divergenceOf(two, answer([0.6, 0.4], [0.1]), three, answer([0.2, 0.1, 0.7], [0.2]));
    assert.deepEqual(found, { labelFlip: undefined, flagFlip: true, probabilities: undefined, gates: undefined });
    const bare = model(['NOT', 'OFF'], []);
    assert.equal(divergenceOf(bare, answer([0.6, 0.4], []), bare, answer([0.6, 0.4], [])).gates, undefined);
  });
});
