import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';

import { copyTiny, modelsFolder, restate } from '../fixtures/bundle-copy.ts';
import { launch, type Service, startService, waitFor } from './service.ts';

/** A version of the tiny model; a later one is a newer one. */
const version =
  (number: number, description = ''): NonNullable<Parameters<typeof copyTiny>[2]> =>
  (manifest) =>
    void Object.assign(manifest, {
      version: `${number}.0.0`,
      createdAt: `20${10 + number}-01-01T00:00:00Z`,
      description,
    });

/** Keeps requests in flight until `stop`; each must be answered with 200. */
function load(service: Service, parallel = 8) {
  const versions = new Map<string, number>();
  let stopped = false;
  const streams = Promise.all(
    Array.from({ length: parallel }, async () => {
      while (!stopped) {
        const answer = await service.classify({ texts: ['you are kind', 'what a day'] });
        const body = (await answer.json()) as { model: { version: string }; results: unknown[] };
        assert.equal(answer.status, 200, JSON.stringify(body));
        assert.equal(body.results.length, 2);
        versions.set(body.model.version, (versions.get(body.model.version) ?? 0) + 1);
      }
    }),
  );
  streams.catch(() => {});
  return {
    answered: (wanted: string) => versions.get(wanted) ?? 0,
    async stop() {
      stopped = true;
      await streams;
    },
  };
}

interface Line {
  readonly msg: string;
  readonly folder?: string;
  readonly [field: string]: unknown;
}

/** Log lines about bundles. */
const bundleLines = (service: Service): readonly Line[] =>
  service
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line)
    .filter(({ msg }) => msg.startsWith('bundle '));

/** Processes whose parent is this one. */
function children(pid: number): readonly number[] {
  const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return listed === '' ? [] : listed.split(' ').map(Number);
}

async function started(t: TestContext, env: Readonly<Record<string, string>> = {}) {
  const models = await modelsFolder(t);
  await copyTiny(models, 'tiny', version(1));
  const service = await startService(t, { MODELS_DIR: models, WORKERS: '2', ...env });
  return { models, service };
}

const TIMEOUT = 30_000;

describe('reload', () => {
  it('on SIGHUP switches to a new version under load, without a failed request and in new processes', async (t) => {
    const { models, service } = await started(t, { MODELS_POLL_MS: '0' });
    const before = children(service.process.pid as number);
    const requests = load(service);
    await waitFor(() => requests.answered('1.0.0') > 20 || undefined);
    await copyTiny(models, 'next', version(2));
    service.process.kill('SIGHUP');
    await waitFor(() => requests.answered('2.0.0') > 20 || undefined, TIMEOUT);
    // What is bad changes nothing.
    const bad = await copyTiny(models, 'worse', version(3));
    await writeFile(join(bad, 'model.onnx'), 'this is no graph');
    await restate(bad, 'model.onnx');
    service.process.kill('SIGHUP');
    await waitFor(() => bundleLines(service).some(({ msg }) => msg === 'bundle refused') || undefined, TIMEOUT);
    // What is gone is unloaded.
    await rm(join(models, 'tiny'), { recursive: true });
    service.process.kill('SIGHUP');
    await waitFor(() => bundleLines(service).some(({ msg }) => msg === 'bundle unloaded') || undefined, TIMEOUT);
    const after = await waitFor(() => {
      const now = children(service.process.pid as number);
      return now.length === before.length && now.every((pid) => !before.includes(pid)) ? now : undefined;
    }, TIMEOUT);
    assert.equal(after.length, 3);
    await requests.stop();
    assert.deepEqual(
      bundleLines(service).map(({ msg, folder }) => `${msg}: ${folder}`),
      [
        'bundle loaded: tiny',
        'bundle loaded: next',
        'bundle refused: worse',
        'bundle unloaded: tiny',
        'bundle refused: worse',
      ],
    );
    const metrics = await (await fetch(`${service.url}/metrics`)).text();
    assert.match(metrics, /^dslora_bundles_total\{outcome="loaded"\} 2$/m);
    assert.match(metrics, /^dslora_bundles_total\{outcome="unloaded"\} 1$/m);
    assert.match(metrics, /^dslora_reload_seconds_count 4$/m);
    assert.match(metrics, /^dslora_repository_bundles\{state="unavailable"\} 1$/m);
    assert.match(
      metrics,
      /^dslora_model_info\{model="tiny",version="2\.0\.0".*execution_provider="cpu",default="true"\} 1$/m,
    );
    assert.equal(await service.stop(), 0);
  });

  it('follows the folder: replaced in place, and a link turned to another folder, without a failed request', async (t) => {
    const { models, service } = await started(t, { MODELS_POLL_MS: '100' });
    const requests = load(service, 4);
    await copyTiny(models, '.next', version(1, 'the same version, other content'));
    await rename(join(models, 'tiny'), join(models, '.gone'));
    await rename(join(models, '.next'), join(models, 'tiny'));
    const described = async () => {
      const { models: listed } = (await (await fetch(`${service.url}/models`)).json()) as {
        models: { description: string }[];
      };
      return listed[0]?.description;
    };
    const deadline = performance.now() + TIMEOUT;
    while ((await described()) === '' && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(await described(), 'the same version, other content');

    await copyTiny(models, '.v2', version(2));
    await copyTiny(models, '.v3', version(3));
    await symlink('.v2', join(models, 'linked'));
    await waitFor(() => requests.answered('2.0.0') > 5 || undefined, TIMEOUT);
    await symlink('.v3', join(models, '.link'));
    await rename(join(models, '.link'), join(models, 'linked'));
    await waitFor(() => requests.answered('3.0.0') > 5 || undefined, TIMEOUT);
    await requests.stop();
  });

  it('by the admin routes, which need the key', async (t) => {
    const { models, service } = await started(t, {
      MODELS_POLL_MS: '0',
      ADMIN_KEY: 'secret',
      ALIASES: 'stable=tiny@1.0.0',
    });
    const ask = async (method: string, path: string, key = 'secret') => {
      const answer = await fetch(`${service.url}${path}`, { method, headers: { authorization: `Bearer ${key}` } });
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
    };
    assert.equal((await ask('POST', '/admin/reload', 'guess')).status, 401);
    await copyTiny(models, 'next', version(2));
    assert.equal((await ask('POST', '/admin/bundles/next/load')).body.outcome, 'loaded');
    const model = async (reference: string) => {
      const answer = await service.classify({ text: 'kind', model: reference });
      return ((await answer.json()) as { model: { version: string } }).model.version;
    };
    assert.deepEqual(await Promise.all(['tiny', 'stable', 'tiny@2.0.0'].map(model)), ['2.0.0', '1.0.0', '2.0.0']);
    const needed = await ask('DELETE', '/admin/models/tiny/1.0.0');
    assert.deepEqual([needed.status, needed.body.code], [409, 'model_needed']);
    assert.equal((await ask('DELETE', '/admin/models/tiny/2.0.0')).body.outcome, 'unloaded');
    assert.equal(await model('tiny'), '1.0.0');
    assert.equal(service.output().includes('secret'), false);
  });
});

describe('start', () => {
  it('ends where CUDA is asked for and cannot be had, and says why', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'tiny', (m) => {
      m.graphs[0].executionProviders = ['cuda', 'cpu'];
    });
    const running = launch(t, { MODELS_DIR: models, EXECUTION_PROVIDER: 'cuda' });
    const code = await Promise.race([
      running.exited,
      waitFor(() => /Try it/.exec(running.output()) ?? undefined, TIMEOUT),
    ]);
    if (code !== 1) return t.skip('this machine has CUDA');
    assert.match(
      running.output(),
      /No model can be served .*\n {2}tiny: .*onnxruntime cannot load the graph on cuda: /,
    );
  });

  it('ends where a setting names what is not served', async (t) => {
    const running = launch(t, { ALIASES: 'stable=tiny@9', SHADOW: 'tiny=other:0.1' });
    assert.equal(await running.exited, 1);
    assert.match(
      running.output(),
      /ALIASES: stable means tiny@9, which is not served\n {2}SHADOW: other is not served\n/,
    );
  });
});
