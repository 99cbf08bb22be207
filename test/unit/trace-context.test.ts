import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { formatTraceParent, parseTraceParent } from '../../src/observability/trace-context.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

describe('traceparent', () => {
  it('is read and written as W3C Trace Context says', () => {
    const parent = parseTraceParent(`00-${TRACE}-${SPAN}-01`);
    assert.deepEqual(parent, { traceId: TRACE, spanId: SPAN, sampled: true });
    assert.equal(formatTraceParent({ traceId: TRACE, spanId: SPAN, sampled: true }), `00-${TRACE}-${SPAN}-01`);
    assert.equal(parseTraceParent(`00-${TRACE}-${SPAN}-00`)?.sampled, false);
    // Only the lowest bit is about sampling.
    assert.equal(parseTraceParent(`00-${TRACE}-${SPAN}-02`)?.sampled, false);
    // A later version may have more behind the flags.
    assert.equal(parseTraceParent(`cc-${TRACE}-${SPAN}-01-what-the-future-holds`)?.traceId, TRACE);
  });

  it('counts for nothing where it is not of that form', () => {
    for (const header of [
      undefined,
      '',
      'anything',
      `00-${TRACE}-${SPAN}`,
      `00-${TRACE}-${SPAN}-01-more`,
      `ff-${TRACE}-${SPAN}-01`,
      `00-${'0'.repeat(32)}-${SPAN}-01`,
      `00-${TRACE}-${'0'.repeat(16)}-01`,
      `00-${TRACE.toUpperCase()}-${SPAN}-01`,
      `00-${TRACE.slice(1)}-${SPAN}-01`,
      [`00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-01`],
    ]) {
      assert.equal(parseTraceParent(header), undefined, String(header));
    }
  });
});
