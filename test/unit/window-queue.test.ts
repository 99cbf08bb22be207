import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { createWindowQueue, type Waiting } from '../../src/engine/window-queue.ts';

const MODELS = ['a', 'b'];

let order = 0;
const entry = (tokens: number, due: number, model = 'a'): Waiting<number> => ({
  window: { model, tokens, queue: 'short', deadline: Infinity, item: order },
  due,
  order: order++,
  since: 0,
  alone: false,
});

/** What the queue holds, as a plain list in order of urgency. */
function expected(entries: readonly Waiting<number>[]) {
  return [...entries].sort((one, other) => one.due - other.due || one.order - other.order);
}

test('holds what was put in and not taken out, by model and length, the most urgent first', () => {
  const step = fc.record({
    tokens: fc.integer({ min: 1, max: 4 }),
    due: fc.integer({ min: 0, max: 3 }),
    model: fc.constantFrom(...MODELS),
    /** Else something is taken out. */
    put: fc.boolean(),
    which: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const queue = createWindowQueue<number>();
      const held: Waiting<number>[] = [];
      for (const { tokens, due, model, put, which } of steps) {
        if (put || held.length === 0) {
          const one = entry(tokens, due, model);
          held.push(one);
          queue.insert(one);
        } else queue.extract(held.splice(which % held.length, 1)[0] as Waiting<number>);

        assert.equal(queue.windows, held.length);
        assert.equal(
          queue.mostUrgent(() => true),
          expected(held)[0],
        );
        for (const name of MODELS) {
          const own = held.filter(({ window }) => window.model === name);
          const sum = own.reduce((total, { window }) => total + window.tokens, 0);
          assert.equal(queue.tokens.get(name), own.length === 0 ? undefined : sum);
          assert.equal(
            queue.mostUrgent((served) => served === name),
            expected(own)[0],
          );
          const lengths = [...new Set(own.map(({ window }) => window.tokens))].sort();
          assert.deepEqual([...queue.buckets(name).keys()].sort(), lengths);
          for (const length of lengths) {
            const bucket = expected(own.filter(({ window }) => window.tokens === length));
            assert.deepEqual(queue.buckets(name).get(length), bucket);
          }
        }
      }
    }),
  );
});
