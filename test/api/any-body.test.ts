import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { buildTestApp } from './build-test-app.ts';
import { assertDocumented } from './documented.ts';

/** Values that are right, nearly right, or anything. */
function value(...right: readonly fc.Arbitrary<unknown>[]): fc.Arbitrary<unknown> {
  return fc.oneof(...right, fc.jsonValue());
}

const text = fc.string({ unit: 'grapheme' });
const body = fc.record(
  {
    text: value(text),
    texts: value(fc.array(text)),
    model: value(fc.constantFrom('gated', 'plain')),
    gates: value(fc.constantFrom('layers', 'mean', 'none')),
    threshold: value(fc.double({ min: -1, max: 2, noNaN: true }), fc.constantFrom('balanced', 'high-recall')),
    windows: value(fc.boolean()),
    other: fc.jsonValue(),
  },
  { requiredKeys: [] },
);

describe('any body', () => {
  it('has an answer that the OpenAPI document describes, and never an error of the server', async () => {
    const { classify } = await buildTestApp();
    const mostlyRequests = fc.oneof({ weight: 4, arbitrary: body }, { weight: 1, arbitrary: fc.jsonValue() });
    await fc.assert(
      fc.asyncProperty(mostlyRequests, async (given) => {
        const answer = await classify(JSON.stringify(given));
        assertDocumented(answer, 'POST', '/classify');
        assert.ok(answer.statusCode < 500, answer.body);
      }),
      { numRuns: 300 },
    );
  });

  it('is never read as something that it is not', async () => {
    const { classify, engine } = await buildTestApp();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), async (bytes) => {
        const answer = await classify(Buffer.from(bytes));
        assertDocumented(answer, 'POST', '/classify');
        assert.equal(answer.statusCode, 400);
      }),
      { numRuns: 200 },
    );
    assert.deepEqual(engine.seen, []);
  });
});
