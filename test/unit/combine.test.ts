import assert from 'node:assert/strict';
import { test } from 'node:test';

import { combineWindows } from '../../src/engine/combine.ts';

test('one window is the answer itself', () => {
  const window = { tokens: 5, probabilities: [0.1, 0.9], gates: [0.5] };
  assert.deepEqual(combineWindows([window], [1], 5), { ...window, windows: [window] });
});

test('the most offensive window gives the probabilities, and gates are averaged by tokens', () => {
  const windows = [
    { tokens: 10, probabilities: [0.5, 0.2, 0.3], gates: [0.2, 1] },
    { tokens: 10, probabilities: [0.3, 0.4, 0.3], gates: [0.4, 1] },
    { tokens: 20, probabilities: [0.6, 0, 0.4], gates: [0.8, 0] },
  ];
  const { probabilities, gates, tokens } = combineWindows(windows, [1, 2], 33);
  assert.deepEqual(probabilities, [0.3, 0.4, 0.3]);
  assert.ok(Math.abs((gates[0] as number) - 0.55) < 1e-12);
  assert.ok(Math.abs((gates[1] as number) - 0.5) < 1e-12);
  assert.equal(tokens, 33);
});

test('the first of equally offensive windows counts', () => {
  const windows = [
    { tokens: 8, probabilities: [0.5, 0.5], gates: [] },
    { tokens: 8, probabilities: [0.25, 0.5], gates: [] },
  ];
  assert.deepEqual(combineWindows(windows, [1], 12).probabilities, [0.5, 0.5]);
});
