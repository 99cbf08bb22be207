import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { forbidSkips } from './outcome.ts';
import { readJunit } from './pytest.ts';

describe('forbidSkips', () => {
  it('makes a failure of what was skipped for want of a program or data', () => {
    const skips = ['promtool is not installed', 'needs a GPU'];
    const { passed, failed, skips: excused, report } = forbidSkips({ passed: 3, failed: 1, skips, report: 'one' });
    assert.deepEqual([passed, failed, excused], [3, 2, ['needs a GPU']]);
    assert.match(report, /^one\n.*promtool/);
  });
});

describe('readJunit', () => {
  it('takes counts and reasons from a report of pytest', () => {
    const xml =
      '<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="2" skipped="1" tests="9" time="1">' +
      '<testcase name="a"><skipped type="pytest.skip" message="DSLORA_DATA_DIR is not set">x</skipped></testcase>';
    assert.deepEqual(readJunit(xml, ''), { passed: 5, failed: 3, skips: ['DSLORA_DATA_DIR is not set'], report: '' });
  });
});
