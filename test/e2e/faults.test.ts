import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { folderWith } from './service.ts';

/** Those that need neither root nor Debian's faketime; `node test/reliability/faults.ts` plays all of them for longer. */
const SCENARIOS = [
  'inference processes killed',
  'tokenizer killed',
  'workers that hang',
  'processes killed while a model is loaded',
  'SIGTERM under load',
];

const MODEL = 'olid-minilm';
/** How long each fault goes on, in seconds. */
const SECONDS = process.env.DSLORA_TEST_FULL ? '10' : '2';

test('faults under load lose and mix up no request', async (t) => {
  const only = SCENARIOS.flatMap((name) => ['--only', name]);
  const args = [
    'test/reliability/faults.ts',
    '--models',
    await folderWith(t, MODEL),
    '--model',
    MODEL,
    '--seconds',
    SECONDS,
    ...only,
  ];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const outcomes = JSON.parse(stdout.slice(stdout.indexOf('\n['))) as Record<string, unknown>[];
  assert.deepEqual(
    outcomes.map(({ scenario, lost, wrong, after }) => ({ scenario, lost, wrong, after })),
    SCENARIOS.map((scenario) => ({ scenario, lost: 0, wrong: 0, after: 'whole' })),
  );
  assert.ok(outcomes.every(({ requests }) => Number(requests) > 20));
});
