import assert from 'node:assert/strict';
import { appendFile, cp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';

import type { Manifest } from '../../src/bundle/manifest.ts';
import type { EngineOptions } from '../../src/engine/engine.ts';
import { ReferencesError } from '../../src/engine/references.ts';
import type { BundleOutcome, Engine, ModelChangeError } from '../../src/engine/types.ts';
import { copyTiny, editGolden, modelsFolder, restate, set } from '../fixtures/bundle-copy.ts';
import { startEngine, until, type WatchedEngine } from '../fixtures/tiny-engine.ts';

const YEARS: Record<string, string> = { '1.0.0': '2025', '1.1.0': '2026', '2.0.0': '2027' };

/** A version of the tiny model; the later version is the newer one. */
function versioned(version: string, name = 'tiny') {
  return (manifest: Parameters<NonNullable<Parameters<typeof copyTiny>[2]>>[0]) =>
    void Object.assign(manifest, { name, version, createdAt: `${YEARS[version]}-01-01T00:00:00Z` });
}

/** With one process, which is enough where nothing runs meanwhile. */
async function started(t: TestContext, options: Partial<EngineOptions> = {}) {
  const models = await modelsFolder(t);
  await copyTiny(models, 'one', versioned('1.0.0'));
  const watched = await startEngine(t, { modelsDir: models, workers: 1, ...options });
  return { models, watched, engine: watched.engine };
}

const served = (engine: Engine) => engine.models().map(({ name, version }) => `${name}@${version}`);

const outcomes = (bundles: readonly BundleOutcome[]) =>
  Object.fromEntries(bundles.map(({ folder, outcome }) => [folder, outcome]));

const hasCode = (code: string) => (error: ModelChangeError) => {
  assert.equal(error.code, code, error.stack);
  return true;
};

/** Puts a folder in the place of another, as an exporter does. */
async function replaceFolder(fresh: string, old: string): Promise<void> {
  await rename(old, `${old}.gone`);
  await rename(fresh, old);
  await rm(`${old}.gone`, { recursive: true });
}

/** Keeps requests in flight until `stop`. Every one must be answered, by one of the versions that there are. */
function traffic({ engine }: WatchedEngine, reference?: string, parallel = 16) {
  const answered = new Map<string, number>();
  let stopped = false;
  const streams = Array.from({ length: parallel }, async () => {
    while (!stopped) {
      const { model, results } = await engine.classify({ model: reference, texts: ['you are kind', 'idiot'] });
      assert.equal(results.length, 2);
      answered.set(model.version, (answered.get(model.version) ?? 0) + 1);
    }
  });
  const streaming = Promise.all(streams);
  streaming.catch(() => {});
  return {
    count: (version: string) => answered.get(version) ?? 0,
    async stop() {
      stopped = true;
      await streaming;
    },
  };
}

describe('references', () => {
  test('a name means its newest version, unless an alias pins it; name@version and aliases mean one', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'a', versioned('1.1.0'));
    await copyTiny(models, 'b', versioned('1.0.0'));
    await copyTiny(models, 'c', versioned('2.0.0', 'pinned'));
    await copyTiny(models, 'd', versioned('1.0.0', 'pinned'));
    const { engine } = await startEngine(t, {
      modelsDir: models,
      defaultModel: 'stable',
      aliases: new Map([
        ['stable', 'tiny@1.0.0'],
        ['pinned', 'pinned@1.0.0'],
      ]),
    });
    assert.deepEqual(served(engine), ['pinned@2.0.0', 'pinned@1.0.0', 'tiny@1.1.0', 'tiny@1.0.0']);
    const means = (reference: string | undefined) => engine.find(reference)?.version;
    assert.equal(means('tiny'), '1.1.0');
    assert.equal(means('tiny@1.0.0'), '1.0.0');
    assert.equal(means('stable'), '1.0.0');
    assert.equal(means(undefined), '1.0.0');
    assert.equal(means('pinned'), '1.0.0');
    assert.equal(means('pinned@2.0.0'), '2.0.0');
    for (const nothing of ['tiny@9', 'stable@1.0.0', '@1.0.0', '']) assert.equal(means(nothing), undefined);
    assert.equal(engine.aliases().get('stable'), engine.find('tiny@1.0.0'));
    const { model } = await engine.classify({ model: 'tiny@1.0.0', texts: ['kind'] });
    assert.equal(model.version, '1.0.0');
  });

  test('settings that name what is not served are an error at start', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'one', versioned('1.0.0'));
    const starting = startEngine(t, {
      modelsDir: models,
      defaultModel: 'nobody',
      aliases: new Map([['stable', 'tiny@9']]),
      shadows: [
        { model: 'tiny', shadow: 'tiny@2.0.0', share: 1 },
        { model: 'tiny', shadow: 'tiny@1.0.0', share: 1 },
      ],
    });
    await assert.rejects(starting, (error: ReferencesError) => {
      assert.ok(error instanceof ReferencesError);
      assert.deepEqual(error.problems.slice(0, 3), [
        'DEFAULT_MODEL (nobody) is not served',
        'ALIASES: stable means tiny@9, which is not served',
        'SHADOW: tiny@2.0.0 is not served',
      ]);
      assert.match(error.problems[3] as string, /^SHADOW: tiny and tiny@1\.0\.0 mean the same version/);
      return true;
    });
  });
});

describe('reload', () => {
  test('a new version is switched to under load, the old one stays, and no request fails', async (t) => {
    const { models, watched, engine } = await started(t, { workers: 2 });
    const before = watched.pids('inference');
    const load = traffic(watched);
    await until(() => load.count('1.0.0') > 50, 20_000);
    await copyTiny(models, 'two', versioned('1.1.0'));
    const report = await engine.reload();
    assert.deepEqual(outcomes(report.bundles), { one: 'unchanged', two: 'loaded' });
    await until(() => load.count('1.1.0') > 50, 20_000);
    await load.stop();
    assert.deepEqual(served(engine), ['tiny@1.1.0', 'tiny@1.0.0']);
    assert.deepEqual(watched.deaths, []);
    // Recycled, and as many as before.
    await until(() => watched.pids('inference').length === before.length, 20_000);
    assert.ok(watched.pids('inference').every((pid) => !before.includes(pid)));
  });

  test('a folder that is replaced under the same name and version is switched to, and the old content is let go', async (t) => {
    const { models, watched, engine } = await started(t, { workers: 2 });
    const first = engine.find('tiny');
    const load = traffic(watched);
    for (const number of [1, 2, 3]) {
      await copyTiny(models, '.next', (m) => {
        versioned('1.0.0')(m);
        m.description = `content ${number}`;
      });
      await replaceFolder(join(models, '.next'), join(models, 'one'));
      const { bundles } = await engine.reload();
      assert.deepEqual(outcomes(bundles), { one: 'loaded' });
      assert.equal(engine.find('tiny')?.manifest.description, `content ${number}`);
    }
    assert.notEqual(engine.find('tiny')?.digest, first?.digest);
    await load.stop();
    assert.deepEqual(served(engine), ['tiny@1.0.0']);
    assert.deepEqual(watched.deaths, []);
  });

  test('a bad bundle is refused and what its folder served goes on, also in processes that are replaced', async (t) => {
    const { models, watched, engine } = await started(t, { workers: 2 });
    const load = traffic(watched);
    const next = await copyTiny(models, '.next', versioned('1.1.0'));
    await writeFile(join(next, 'model.onnx'), 'this is no graph');
    await restate(next, 'model.onnx');
    await replaceFolder(next, join(models, 'one'));
    const { bundles } = await engine.reload();
    assert.deepEqual(outcomes(bundles), { one: 'refused' });
    assert.match(bundles[0]?.reason ?? '', /model\.onnx is no ONNX graph/);
    assert.deepEqual(served(engine), ['tiny@1.0.0']);
    assert.equal(engine.repository()[0]?.state, 'ready');
    assert.match(engine.repository()[0]?.reason ?? '', /is no ONNX graph/);
    // The files that serve are gone from the folder, and are still held.
    for (const role of ['inference', 'inference', 'tokenizer'] as const) {
      const deaths = watched.deaths.length;
      process.kill(watched.pids(role)[0] as number, 'SIGKILL');
      await until(() => watched.deaths.length === deaths + 1);
      // One death at a time: what two processes die over is given up.
      await until(() => watched.pids('inference').length === 2 && engine.ready(), 20_000);
      const before = load.count('1.0.0');
      await until(() => load.count('1.0.0') > before + 50, 20_000);
    }
    await load.stop();
  });

  test('vectors that disagree are found before anything is switched', async (t) => {
    const { models, engine } = await started(t);
    const two = await copyTiny(models, 'two', versioned('1.1.0'));
    await editGolden(two, set('items.1.combined.probabilities', [0.5, 0.5]));
    assert.deepEqual(outcomes((await engine.reload()).bundles), { one: 'unchanged', two: 'refused' });
    assert.deepEqual(served(engine), ['tiny@1.0.0']);
    assert.match(engine.refused()[0]?.reason ?? '', /differs from PyTorch/);
  });

  test('the same name and version in a second folder is refused; when the first is gone, the second serves', async (t) => {
    const { models, engine } = await started(t);
    await cp(join(models, 'one'), join(models, 'again'), { recursive: true });
    const { bundles } = await engine.reload();
    assert.deepEqual(outcomes(bundles), { again: 'refused', one: 'unchanged' });
    assert.match(bundles[0]?.reason ?? '', /tiny 1\.0\.0 is also in folder one: remove one of them/);
    await rm(join(models, 'one'), { recursive: true });
    assert.equal(outcomes((await engine.reload()).bundles).again, 'loaded');
    assert.equal(engine.find('tiny')?.folder, 'again');
    assert.deepEqual(served(engine), ['tiny@1.0.0']);
  });

  test('what is gone is unloaded, unless a setting needs it or nothing else is left', async (t) => {
    const { models, engine } = await started(t);
    await copyTiny(models, 'two', versioned('1.1.0'));
    await engine.reload();
    await rm(join(models, 'one'), { recursive: true });
    assert.deepEqual(outcomes((await engine.reload()).bundles), { one: 'unloaded', two: 'unchanged' });
    assert.deepEqual(served(engine), ['tiny@1.1.0']);
    await rm(join(models, 'two'), { recursive: true });
    const { bundles } = await engine.reload();
    assert.deepEqual(outcomes(bundles), { two: 'kept' });
    assert.match(bundles[0]?.reason ?? '', /no bundle any more/);
    await engine.classify({ texts: ['kind'] });
  });

  test('a version that an alias means is kept when its folder moves on', async (t) => {
    const { models, engine } = await started(t, { aliases: new Map([['stable', 'tiny@1.0.0']]) });
    const next = await copyTiny(models, '.next', versioned('1.1.0'));
    await replaceFolder(next, join(models, 'one'));
    const { bundles } = await engine.reload();
    assert.deepEqual(
      bundles.map(({ version, outcome, reason }) => [version, outcome, reason]),
      [
        ['1.1.0', 'loaded', undefined],
        ['1.0.0', 'kept', 'ALIASES: stable means tiny@1.0.0, which is not served'],
      ],
    );
    assert.deepEqual(served(engine), ['tiny@1.1.0', 'tiny@1.0.0']);
    assert.equal(engine.find('stable')?.version, '1.0.0');
  });

  test('several who ask at once are answered together, and nothing is read twice', async (t) => {
    const { models, engine } = await started(t);
    await copyTiny(models, 'two', versioned('1.1.0'));
    const reports = await Promise.all([engine.reload(), engine.reload(), engine.reload()]);
    assert.deepEqual(
      reports.map(({ bundles }) => outcomes(bundles).two),
      ['loaded', 'loaded', 'loaded'],
    );
  });

  test('a models folder that cannot be read changes nothing', async (t) => {
    const { models, engine } = await started(t);
    await rename(models, `${models}.away`);
    await assert.rejects(engine.reload(), /cannot be read/);
    await engine.classify({ texts: ['kind'] });
    await rename(`${models}.away`, models);
  });

  test('closing does not wait for a reload, and later ones are refused', async (t) => {
    const { models, engine } = await started(t);
    await copyTiny(models, 'two', versioned('1.1.0'));
    const reloading = engine.reload().catch(() => {});
    await engine.close();
    await reloading;
    await assert.rejects(engine.reload(), hasCode('shutting_down'));
  });
});

describe('load and unload', () => {
  test('under load: what is in hand is answered, the processes are new, and it can be loaded again', async (t) => {
    const { models, watched, engine } = await started(t, { workers: 2 });
    await copyTiny(models, 'two', versioned('1.1.0'));
    await engine.load('two');
    const load = traffic(watched);
    await until(() => load.count('1.1.0') > 50, 20_000);
    const before = watched.pids('inference');
    assert.equal((await engine.unload('tiny@1.1.0')).outcome, 'unloaded');
    await until(() => load.count('1.0.0') > 50, 20_000);
    await load.stop();
    assert.ok(watched.pids('inference').every((pid) => !before.includes(pid)));
    assert.deepEqual(engine.repository(), [
      { folder: 'one', name: 'tiny', version: '1.0.0', state: 'ready' },
      { folder: 'two', name: 'tiny', version: '1.1.0', state: 'unavailable', reason: 'unloaded by request' },
    ]);
    // A reload does not bring back what somebody took away.
    assert.deepEqual(outcomes((await engine.reload()).bundles), { one: 'unchanged' });
    assert.equal((await engine.load('two')).outcome, 'loaded');
    assert.equal((await engine.load('two')).outcome, 'unchanged');
    assert.equal(engine.find('tiny')?.version, '1.1.0');
  });

  test('only folders that were found have names', async (t) => {
    const { models, engine } = await started(t);
    await copyTiny(models, '.hidden', versioned('1.1.0'));
    for (const folder of ['nothing', '', '.', '..', '.hidden', '../one', 'one/', join(models, 'one')])
      await assert.rejects(engine.load(folder), hasCode('unknown_bundle'));
  });

  test('what a setting means, and the last model, stay', async (t) => {
    const { models, engine } = await started(t, { defaultModel: 'tiny@1.0.0' });
    await assert.rejects(engine.unload('tiny@1.0.0'), hasCode('model_needed'));
    await copyTiny(models, 'two', versioned('1.1.0'));
    await engine.load('two');
    await assert.rejects(engine.unload('tiny@1.0.0'), /DEFAULT_MODEL \(tiny@1\.0\.0\) is not served/);
    await engine.unload('tiny');
    assert.deepEqual(served(engine), ['tiny@1.0.0']);
    await assert.rejects(engine.unload('tiny@1.1.0'), hasCode('unknown_model'));
  });
});

describe('files that are written over', () => {
  test('are noticed when a process comes back: others go on, then an error, and a reload repairs it', async (t) => {
    const { models, watched, engine } = await started(t);
    await copyTiny(models, 'two', versioned('1.0.0', 'other'));
    await engine.reload();
    // In place: the same file, so that holding it open does not help.
    const graph = join(models, 'one', 'model.onnx');
    const content = await readFile(graph);
    await appendFile(graph, 'x');
    process.kill(watched.pids('inference')[0] as number, 'SIGKILL');
    await until(() => watched.deaths.length === 1);
    assert.equal((await engine.classify({ model: 'other', texts: ['kind'] })).results.length, 1);
    await assert.rejects(engine.classify({ model: 'tiny', texts: ['kind'] }), /failed/);
    await writeFile(graph, content);
    assert.equal(outcomes((await engine.reload()).bundles).one, 'loaded');
    assert.equal((await engine.classify({ model: 'tiny', texts: ['kind'] })).results.length, 1);
  });

  test('by a whole new version: it is switched to all the same, and no request fails', async (t) => {
    const { models, watched, engine } = await started(t, { workers: 2 });
    const load = traffic(watched);
    const next = await copyTiny(models, '.next', versioned('1.1.0'));
    await appendFile(join(next, 'README.md'), 'x');
    await restate(next, 'README.md');
    for (const name of await readdir(next))
      await writeFile(join(models, 'one', name), await readFile(join(next, name)));
    assert.equal(outcomes((await engine.reload()).bundles).one, 'loaded');
    await until(() => load.count('1.1.0') > 20, 20_000);
    await load.stop();
    assert.deepEqual(served(engine), ['tiny@1.1.0']);
    assert.deepEqual(watched.deaths, []);
  });
});

describe('held files', () => {
  test('are let go when a bundle is refused or unloaded', { skip: process.platform !== 'linux' }, async (t) => {
    const { models, engine } = await started(t);
    const open = async () => (await readdir('/proc/self/fd')).length;
    const spoilt = await copyTiny(models, 'spoilt', versioned('1.1.0'));
    await editGolden(spoilt, set('items.1.normalized', 'other'));
    await engine.reload();
    const before = await open();
    for (let i = 0; i < 3; i++) await engine.reload();
    assert.ok((await open()) <= before, `${await open()} descriptors, ${before} before`);
  });
});

test('a manifest without a date that is newer does not take over', async (t) => {
  const { models, engine } = await started(t);
  await copyTiny(
    models,
    'two',
    (m: { [Key in keyof Manifest]: unknown }) =>
      void Object.assign(m, { version: '0.9.0', createdAt: '2020-01-01T00:00:00Z' }),
  );
  await engine.reload();
  assert.equal(engine.find('tiny')?.version, '1.0.0');
});
