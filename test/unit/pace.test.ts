import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { createPace } from '../../src/engine/pace.ts';

const close = (got: number, expected: number) => assert.ok(Math.abs(got - expected) < 1e-6, `${got}, not ${expected}`);

describe('pace', () => {
  test('finds the line on which batches lie, and its inverse', () => {
    const pace = createPace();
    for (const tokens of [20, 190, 40, 100]) pace.ran('m', tokens, 3 + 0.05 * tokens);
    close(pace.runMs('m', 400), 23);
    close(pace.tokensIn('m', 23), 400);
  });

  test('follows a machine that becomes slower', () => {
    const pace = createPace();
    for (let i = 0; i < 100; i++) pace.ran('m', 20 + (i % 10) * 20, 2);
    for (let i = 0; i < 600; i++) pace.ran('m', 20 + (i % 10) * 20, 8);
    assert.ok(Math.abs(pace.runMs('m', 100) - 8) < 0.1);
  });

  test('foretells full batches from small ones where tokens cost nothing', () => {
    const pace = createPace();
    for (const tokens of [10, 30, 20]) pace.ran('gpu', tokens, 5);
    close(pace.runMs('gpu', 4_096), 5);
    assert.equal(pace.tokensIn('gpu', 1), Number.POSITIVE_INFINITY);
  });

  test('has no negative parts, whatever was measured', () => {
    const falling = createPace();
    for (const [tokens, ms] of [
      [10, 9],
      [100, 3],
    ] as const)
      falling.ran('m', tokens, ms);
    close(falling.runMs('m', 1_000), falling.runMs('m', 0));
    const steep = createPace();
    for (const [tokens, ms] of [
      [100, 1],
      [200, 5],
    ] as const)
      steep.ran('m', tokens, ms);
    assert.equal(steep.runMs('m', 0), 0);
    assert.ok(steep.runMs('m', 100) > 0);
  });

  test('presumes a small overhead while batches are all alike, and nothing before the first', () => {
    const pace = createPace();
    assert.equal(pace.runMs('m', 100), 0);
    assert.equal(pace.tokensIn('m', 1), Number.POSITIVE_INFINITY);
    for (let i = 0; i < 5; i++) pace.ran('m', 88, 10);
    close(pace.runMs('m', 88), 10);
    close(pace.runMs('m', 0), 1.2);
    assert.equal(pace.runMs('other', 100), 0);
  });
});
