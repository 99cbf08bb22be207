import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { NOTHING_DONE } from '../../../src/cli/bulk/journal.ts';
import { duration, progressLine } from '../../../src/cli/bulk/progress.ts';

describe('progress', () => {
  it('says the speed of this process and the time that is left', () => {
    const begun = { ...NOTHING_DONE, rows: 1_000, input: 50_000 };
    const now = { ...NOTHING_DONE, rows: 3_000, input: 150_000 };
    assert.equal(progressLine(now, begun, 1_000_000, 10), '15 %, 3,000 rows, 200 rows/s, 1 min 25 s left');
    assert.equal(progressLine(now, begun, undefined, 10), '3,000 rows, 200 rows/s');
  });

  it('says durations as people do', () => {
    assert.deepEqual([0.4, 59, 61, 3600, 86_399].map(duration), [
      '0 s',
      '59 s',
      '1 min 1 s',
      '1 h 0 min',
      '23 h 59 min',
    ]);
  });
});
