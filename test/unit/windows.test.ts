import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { cutWindows } from '../../src/engine/windows.ts';

const shape = { maxTokens: 8, windowOverlap: 2, prefixIds: [101], suffixIds: [102] };
const ids = (n: number) => Int32Array.from({ length: n }, (_, i) => i);
const cut = (n: number) => cutWindows(ids(n), shape).map((window) => [...window]);

describe('cutWindows', () => {
  test('a text that fits is one window', () => {
    assert.deepEqual(cut(1), [[101, 0, 102]]);
    assert.deepEqual(cut(6), [[101, 0, 1, 2, 3, 4, 5, 102]]);
  });

  test('the last window is moved back so that it is full', () => {
    assert.deepEqual(cut(7), [
      [101, 0, 1, 2, 3, 4, 5, 102],
      [101, 1, 2, 3, 4, 5, 6, 102],
    ]);
    assert.deepEqual(cut(10), [
      [101, 0, 1, 2, 3, 4, 5, 102],
      [101, 4, 5, 6, 7, 8, 9, 102],
    ]);
    assert.deepEqual(
      cut(11).map((window) => window[1]),
      [0, 4, 5],
    );
  });

  test('covers every token, with full windows and at least the overlap between neighbours', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 4, max: 40 }),
        fc.nat(3),
        fc.nat(2),
        fc.nat(100),
        (n, capacity, prefix, suffix, overlap) => {
          const windowOverlap = overlap % capacity;
          const maxTokens = capacity + prefix + suffix;
          const prefixIds = new Array<number>(prefix).fill(-1);
          const suffixIds = new Array<number>(suffix).fill(-2);
          const windows = cutWindows(ids(n), { maxTokens, windowOverlap, prefixIds, suffixIds });
          const bodies = windows.map((window) => [...window].slice(prefix, window.length - suffix));
          if (n > capacity) for (const body of bodies) assert.equal(body.length, capacity);
          assert.deepEqual([...new Set(bodies.flat())], [...ids(n)]);
          for (const [k, body] of bodies.entries()) {
            const next = bodies[k + 1];
            if (next !== undefined) assert.ok(capacity - ((next[0] as number) - (body[0] as number)) >= windowOverlap);
          }
          const expected = n <= capacity ? 1 : Math.ceil((n - capacity) / (capacity - windowOverlap)) + 1;
          assert.equal(windows.length, expected);
        },
      ),
    );
  });

  // A graph has no answer for padding alone. What has no id is refused before it is cut (tokenizer-role.ts).
  test('no window is empty, with special tokens or without', () => {
    for (const special of [[], [101]])
      for (let n = 1; n <= 40; n++)
        for (const window of cutWindows(ids(n), { ...shape, prefixIds: special, suffixIds: special }))
          assert.ok(window.length > 0);
  });
});
