/** How child processes are started. That they are replaced, and what becomes of their calls, is in test/e2e/faults.test.ts. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import type { Role } from '../../src/engine/protocol.ts';
import { superviseChild } from '../../src/engine/supervisor.ts';

const CHILD = fileURLToPath(new URL('../fixtures/telling-child.ts', import.meta.url));
const SLOW = fileURLToPath(new URL('../fixtures/slow-child.ts', import.meta.url));
const UNWATCHED = { started() {}, exited() {}, watch: { started() {}, exited() {} } };

test('inference processes ask for huge pages, and others do not', async (t) => {
  assert.equal(await tunablesOf(t, 'inference', undefined), 'glibc.malloc.hugetlb=1');
  assert.equal(await tunablesOf(t, 'tokenizer', undefined), '');
});

test('what is set of glibc already is kept', async (t) => {
  assert.equal(
    await tunablesOf(t, 'inference', 'glibc.malloc.arena_max=1'),
    'glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1',
  );
  assert.equal(await tunablesOf(t, 'inference', 'glibc.malloc.hugetlb=0'), 'glibc.malloc.hugetlb=0');
});

test('the time of a call begins when those before it are answered', async () => {
  const child = superviseChild('tokenizer', UNWATCHED, SLOW);
  const call = (model: string, timeoutMs: number) => child.call({ type: 'unload-graph', model }, timeoutMs);
  try {
    // Together they take longer than each of them may.
    const answered = ['0', ...new Array<string>(6).fill('300')].map((ms) => call(ms, ms === '0' ? 20_000 : 1_500));
    const hangs = call('', 500);
    const behind = call('0', 500);
    const lost = { kind: 'lost', message: 'the tokenizer process was ended by SIGKILL' };
    await Promise.all([...answered, assert.rejects(hangs, lost), assert.rejects(behind, lost)]);
  } finally {
    await child.close();
  }
});

async function tunablesOf(t: TestContext, role: Role, set: string | undefined): Promise<string> {
  const before = process.env.GLIBC_TUNABLES;
  const restore = (value: string | undefined) => {
    if (value === undefined) delete process.env.GLIBC_TUNABLES;
    else process.env.GLIBC_TUNABLES = value;
  };
  restore(set);
  t.after(() => restore(before));
  const child = superviseChild(role, UNWATCHED, CHILD);
  try {
    return (await child.call({ type: 'unload-graph', model: '' }, 20_000)) as unknown as string;
  } finally {
    await child.close();
  }
}
