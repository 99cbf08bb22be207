/**
 * Every operation of the served OpenAPI document, with right, nearly right and wrong requests: schemathesis with all its
 * checks. What it is told beyond the document stands in schemathesis.toml.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { digestOf } from '../../../src/api/access/api-key.ts';
import { copyTiny, modelsFolder } from '../../fixtures/bundle-copy.ts';
import { CLIENTS } from '../../runner/python-environment.ts';
import { MISSING_PYTHON } from '../compat/python-client.ts';
import { startService } from '../service.ts';

const PROGRAM = join(dirname(CLIENTS.python), 'schemathesis');
const CONFIG = fileURLToPath(new URL('./schemathesis.toml', import.meta.url));
const KEY = 'of-the-fuzzer';
const SEED = 1;
/** Requests for each operation beside those that boundaries and examples of its schema ask for. */
const EXAMPLES = process.env.DSLORA_TEST_FULL ? 400 : 30;

describe('schemathesis', { skip: MISSING_PYTHON }, () => {
  it('finds no request whose answer is wrong, undocumented or missing', async (t) => {
    const work = await mkdtemp(join(tmpdir(), 'fuzz-'));
    t.after(() => rm(work, { recursive: true, force: true }));
    const models = await modelsFolder(t);
    await copyTiny(models, 'tiny');
    // One that may be unloaded, since the default model may not.
    await copyTiny(models, 'spare', (manifest) => {
      manifest.name = 'spare';
    });
    const service = await startService(t, {
      MODELS_DIR: models,
      DEFAULT_MODEL: 'tiny',
      // So that every route that needs a key is seen to ask for it.
      API_KEYS: `fuzzer=classify+admin+metrics:${digestOf(KEY).toString('hex')}`,
      FEEDBACK_FILE: join(work, 'feedback.jsonl'),
    });

    const options = [`--seed=${SEED}`, `--max-examples=${EXAMPLES}`, '--generation-database=none', '--workers=2'];
    const { stdout } = await promisify(execFile)(
      PROGRAM,
      ['--no-color', `--config-file=${CONFIG}`, 'run', `${service.url}/docs/json`, ...options],
      { cwd: work, maxBuffer: 1 << 28, env: { ...process.env, ADMIN_KEY: KEY } },
    ).catch((error: { readonly stdout: string; readonly stderr: string }) => {
      throw new Error(`${error.stdout}${error.stderr}`);
    });
    assert.match(stdout, /Selected: (\d+)\/\1\s+Tested: \1\s/);
    t.diagnostic(/^.*generated.*$/m.exec(stdout)?.[0].trim() ?? '');

    const headers = { 'content-type': 'application/json', 'x-api-key': KEY };
    assert.equal((await service.classify({ text: 'you are kind' }, { headers })).status, 200);
    // Not from the log, whose level is changed by one of the operations.
    const metrics = await (await fetch(`${service.url}/metrics`, { headers })).text();
    assert.equal(await service.stop(), 0);
    assert.equal(service.output().includes('unexpected error'), false);
    // So that the checks above have seen answers and not only refusals.
    const served = new Set([...metrics.matchAll(/_count\{route="([^"]+)",status="200"\}/g)].map(([, route]) => route));
    for (const route of ['/classify', '/v1/moderations', '/v1alpha1/comments:analyze', '/predict', '/admin/reload']) {
      assert.ok(served.has(route), route);
    }
  });
});
