import assert from 'node:assert/strict';
import { appendFile, rename, rm, symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

import { watchFolder } from '../../src/bundle/watch.ts';
import { copyTiny, modelsFolder } from '../fixtures/bundle-copy.ts';
import { until } from '../fixtures/tiny-engine.ts';

/** @returns how often a change was told so far */
async function watched(t: TestContext, models: string): Promise<() => number> {
  let changes = 0;
  const watch = watchFolder(models, 20, async () => {
    changes++;
  });
  t.after(() => watch.close());
  // The first look is at what there was.
  await quiet();
  assert.equal(changes, 0);
  return () => changes;
}

const quiet = () => new Promise((resolve) => setTimeout(resolve, 150));

test('bundles that come, change and go are noticed, each once', async (t) => {
  const models = await modelsFolder(t);
  const folder = await copyTiny(models, 'one');
  const changes = await watched(t, models);
  const steps: (() => Promise<unknown>)[] = [
    () => copyTiny(models, 'two'),
    () => appendFile(join(folder, 'README.md'), 'x'),
    () => utimes(join(folder, 'manifest.json'), 1, 1),
    () => rm(join(models, 'two'), { recursive: true }),
  ];
  for (const [i, step] of steps.entries()) {
    await step();
    await until(() => changes() > i);
    await quiet();
    assert.equal(changes(), i + 1, `step ${i}`);
  }
});

test('a link that is turned to another folder is noticed, also below the folder that is watched', async (t) => {
  const models = await modelsFolder(t);
  const volume = join(models, 'one');
  await copyTiny(models, '.v1');
  await copyTiny(models, '.v2');
  await symlink('.v1', volume);
  const changes = await watched(t, models);
  await symlink('.v2', join(models, '.next'));
  await rename(join(models, '.next'), volume);
  await until(() => changes() === 1);
});

test('a file beside others is noticed', async (t) => {
  const folder = await modelsFolder(t);
  const changes = await watched(t, folder);
  await appendFile(join(folder, 'policy.json'), 'x');
  await until(() => changes() === 1);
  await quiet();
  await appendFile(join(folder, 'policy.json'), 'x');
  await until(() => changes() === 2);
});

test('work in progress in hidden folders is no change', async (t) => {
  const models = await modelsFolder(t);
  const changes = await watched(t, models);
  await copyTiny(models, '.new');
  await quiet();
  assert.equal(changes(), 0);
  await rename(join(models, '.new'), join(models, 'new'));
  await until(() => changes() === 1);
});

test('a folder that is away for a while is looked at again', async (t) => {
  const models = await modelsFolder(t);
  await copyTiny(models, 'one');
  const changes = await watched(t, models);
  await rename(models, `${models}.away`);
  await until(() => changes() === 1);
  await rename(`${models}.away`, models);
  await until(() => changes() === 2);
});
