import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';

import { launch, startService } from './service.ts';

const POLICY = {
  schemaVersion: 1,
  name: 'forum',
  version: '1',
  models: [{ model: 'tiny' }],
  thresholds: { offensive: { review: 0.3, block: 0.9 } },
};

async function folderOf(t: TestContext, files: Readonly<Record<string, unknown>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'policies-'));
  t.after(() => rm(folder, { recursive: true }));
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), JSON.stringify(content));
  return folder;
}

/** @throws Error when it is not so after 20 seconds */
async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error('not so after 20 s');
    await wait(50);
  }
}

describe('POLICIES_DIR', () => {
  it('keeps the service from starting where files are wrong, and names every problem', async (t) => {
    const folder = await folderOf(t, {
      'a.json': { ...POLICY, models: [{ model: 'gone' }] },
      'b.json': { ...POLICY, name: 'other', thresholds: { offensive: { review: 2 } } },
    });
    const { exited, output } = launch(t, { POLICIES_DIR: folder });
    assert.equal(await exited, 1, output());
    assert.match(output(), /a\.json: names the model gone, which is not served/);
    assert.match(output(), /b\.json\/thresholds\/offensive\/review/);
  });

  it('is read again at SIGHUP, and a wrong file leaves what was there', async (t) => {
    const folder = await folderOf(t, { 'a.json': POLICY });
    const service = await startService(t, { POLICIES_DIR: folder });
    const version = async () => {
      const answer = await service.classify({ text: 'see you tomorrow', policy: 'forum' });
      return ((await answer.json()) as { policy: { version: string } }).policy.version;
    };
    assert.equal(await version(), '1');
    await writeFile(join(folder, 'a.json'), JSON.stringify({ ...POLICY, version: '2' }));
    service.process.kill('SIGHUP');
    await until(async () => (await version()) === '2');
    await writeFile(join(folder, 'a.json'), JSON.stringify({ ...POLICY, version: '3', thresholds: {} }));
    service.process.kill('SIGHUP');
    await until(async () => service.output().includes('policies were not reloaded'));
    assert.equal(await version(), '2');
  });

  it('is watched', async (t) => {
    const folder = await folderOf(t, { 'a.json': POLICY });
    const service = await startService(t, { POLICIES_DIR: folder, MODELS_POLL_MS: '200' });
    const names = async () => {
      const listed = (await (await fetch(`${service.url}/policies`)).json()) as { policies: { name: string }[] };
      return listed.policies.map(({ name }) => name);
    };
    assert.deepEqual(await names(), ['default', 'forum']);
    await writeFile(join(folder, 'b.json'), JSON.stringify({ ...POLICY, name: 'late' }));
    await until(async () => (await names()).includes('late'));
  });
});
