/** The CPU image, built and run for real. Debian stands in for the official base image (docs/containers.md). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { buildImage, importBases, MARKED_SECRET, ROOT } from './build.ts';
import { openPodman, type Podman, whyNoContainers } from './podman.ts';
import { classify, compareWithGolden, HARDENED, memoryOf, startContainer } from './service-container.ts';

const IMAGE = 'localhost/ds-lora-service:test';
const MEBIBYTE = 1024 * 1024;
/** Of k8s/base and docker-compose.yml. */
const MEMORY_LIMIT = 1536 * MEBIBYTE;
const MODELS = join(ROOT, 'models');
const missing = whyNoContainers();

describe('the CPU image', { skip: missing ?? false }, () => {
  let podman: Podman;
  let files: readonly { path: string; mode: string }[];
  let archive: string;

  before(async () => {
    podman = await openPodman();
    await importBases(podman);
    await buildImage(podman, IMAGE, '--target', 'cpu');
    archive = join(podman.folder, 'root.tar');
    const id = await podman.run('create', IMAGE);
    await podman.run('export', '--output', archive, id);
    await podman.run('rm', id);
    files = execFileSync('tar', ['--list', '--verbose', '--file', archive], {
      encoding: 'utf8',
      maxBuffer: 64 * MEBIBYTE,
    })
      .trim()
      .split('\n')
      .map((line) => ({ mode: line.slice(0, 10), path: `/${line.split(/\s+/)[5]}` }));
  });

  after(() => podman?.close());

  test('is at most 350 MB large, shipped models included', async (t) => {
    const bytes = Number(await podman.run('image', 'inspect', '--format', '{{.Size}}', IMAGE));
    t.diagnostic(`${(bytes / 1e6).toFixed(0)} MB`);
    assert.ok(bytes <= 350e6, `${bytes} bytes`);
    for (const model of ['olid-minilm', 'hatexplain-minilm'])
      assert.ok(
        files.some(({ path }) => path === `/app/models/${model}/manifest.json`),
        model,
      );
  });

  test('holds no shell, no package manager, no tool and nothing that the service does not load', () => {
    const paths = files.map(({ path }) => path);
    const programs = files.filter(
      ({ path, mode }) => mode.startsWith('-') && /^\/(?:usr\/)?(?:local\/)?s?bin\//.test(path),
    );
    assert.deepEqual(
      programs.map(({ path }) => path),
      ['/usr/local/bin/node'],
    );
    assert.deepEqual(
      paths.filter((path) => /\.(?:so(?:\.\d+)*|node)$/.test(path) && path.startsWith('/app')),
      ['libonnxruntime.so.1', 'onnxruntime_binding.node'].map(
        (file) => `/app/node_modules/onnxruntime-node/bin/napi-v6/linux/${process.arch}/${file}`,
      ),
    );
    const unwanted =
      /^\/app\/node_modules\/(?:onnxruntime-web|@img|typescript|@biomejs|node|npm|playwright-core|knip)\//;
    assert.deepEqual(
      paths.filter((path) => unwanted.test(path)),
      [],
    );
    assert.deepEqual(
      paths.filter((path) => /^\/app\/node_modules\/.*\.(?:map|d\.ts)$/.test(path)),
      [],
    );
    assert.deepEqual(
      paths.filter((path) => /^\/app\/(?:test|training|scripts|docs|k8s)\//.test(path)),
      [],
    );
  });

  test('lets nobody but root change it', () => {
    const open = files.filter(({ path, mode }) => mode[8] === 'w' && path !== '/tmp/');
    assert.deepEqual(open, []);
    assert.deepEqual(
      files.filter(({ mode }) => /[sS]/.test(mode)),
      [],
      'nothing gives rights to who runs it',
    );
  });

  test('keeps nothing of the machine that built it, nor of how it reaches registries', async () => {
    assert.deepEqual(
      files.map(({ path }) => path).filter((path) => /npmrc|\.(?:pem|key|crt)$|^\/root\/|\/\.git\/|\/\.env/.test(path)),
      [],
    );
    const history = await podman.run('history', '--no-trunc', '--format', '{{.CreatedBy}} {{.Comment}}', IMAGE);
    const config = await podman.run('image', 'inspect', IMAGE);
    for (const secret of [MARKED_SECRET, podman.folder, ROOT, hostname()]) {
      assert.ok(!history.includes(secret), `the history names ${secret}`);
      // The engine keeps its own folder in what it says of an image here; it is no part of the image.
      if (secret !== podman.folder) assert.ok(!config.includes(secret), `the configuration names ${secret}`);
    }
    // Also in layers that later ones hide.
    const layers = join(podman.folder, 'layers.tar');
    await podman.run('save', '--output', layers, IMAGE);
    const found = execFileSync('sh', ['-c', 'grep -c -a -F "$1" "$2" || true', 'sh', MARKED_SECRET, layers]);
    assert.equal(Number(found), 0, 'a layer holds the secret that was mounted while the image was built');
  });

  test('says what it is, and what it holds', async () => {
    const labels = JSON.parse(await podman.run('image', 'inspect', '--format', '{{json .Labels}}', IMAGE)) as Record<
      string,
      string
    >;
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    assert.equal(labels['org.opencontainers.image.version'], version);
    assert.match(labels['org.opencontainers.image.revision'] ?? '', /^[0-9a-f]{40}$/);
    assert.equal(labels['org.opencontainers.image.licenses'], 'Apache-2.0');

    const read = (path: string) =>
      execFileSync('tar', ['--extract', '--to-stdout', '--file', archive, path], { encoding: 'utf8' });
    const { components } = JSON.parse(read('app/sbom.cdx.json')) as { components: { name: string; purl?: string }[] };
    const named = new Set(components.map(({ name }) => name));
    const installed = files.flatMap(
      ({ path }) => /^\/app\/node_modules\/((?:@[^/]+\/)?[^/@]+)\/$/.exec(path)?.[1] ?? [],
    );
    // What stands in for sharp is this project's own.
    assert.deepEqual(
      installed.filter((name) => !named.has(name) && name !== 'sharp'),
      [],
    );
    for (const name of ['libc6', 'libstdc++6', 'libgcc-s1', 'node', 'olid-minilm']) assert.ok(named.has(name), name);
    assert.match(read('app/licenses.md'), /\| fastify \| [\d.]+ \| MIT \|/);
  });

  test('starts, is well and classifies as the models were verified to', async (t) => {
    const container = await startContainer(podman, { image: IMAGE, options: ['--memory=1536m', '--cpus=2'] });
    t.diagnostic(`ready after ${(container.startMs / 1000).toFixed(2)} s`);

    assert.equal((await podman.attempt('healthcheck', 'run', container.id)).code, 0, 'HEALTHCHECK');
    assert.equal((await container.node('src/cli/health.ts', 'ready')).code, 0);
    for (const model of ['olid-minilm', 'hatexplain-minilm']) await compareWithGolden(container.url, MODELS, model);

    assert.equal(await container.inspect('{{.State.OOMKilled}}'), 'false');
    await container.remove();
  });

  test('runs as any user, without any right, on a file system that cannot be written', async () => {
    const options = ['--user=12345:54321', '--memory=1536m'];
    const container = await startContainer(podman, { image: IMAGE, options });
    const status = readFileSync(`/proc/${container.pid}/status`, 'utf8');
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1]?.split(/\s+/);
    assert.deepEqual(field('Uid'), Array(4).fill('12345'));
    assert.deepEqual(field('Gid'), Array(4).fill('54321'));
    for (const set of ['CapEff', 'CapPrm', 'CapBnd']) assert.match(field(set)?.[0] ?? '', /^0+$/, set);
    assert.deepEqual(field('NoNewPrivs'), ['1']);

    for (const folder of ['/', '/app', '/tmp', '/app/models']) {
      const written = await container.node('-e', `require('fs').writeFileSync('${folder}/x', '')`);
      assert.match(written.stderr, /EROFS|EACCES/, folder);
    }
    await compareWithGolden(container.url, MODELS, 'olid-minilm');
    await container.remove();
  });

  test('runs as nobody in particular when no user is named', async () => {
    assert.equal(await podman.run('image', 'inspect', '--format', '{{.User}}', IMAGE), '65532:65532');
  });

  test('keeps to its memory while it is busy, and is ended when it does not', async (t) => {
    const container = await startContainer(podman, { image: IMAGE, options: ['--memory=1536m', '--cpus=2'] });
    const texts = Array.from({ length: 128 }, (_, i) => `Text number ${i}. `.repeat(1 + (i % 40)));
    for (let turn = 0; turn < 4; turn++) {
      const { results } = await classify(container.url, { texts, priority: 'bulk' });
      assert.equal(results.length, texts.length);
    }
    const used = memoryOf(container.pid);
    t.diagnostic(`${(used.peak / MEBIBYTE).toFixed(0)} MiB at most`);
    assert.equal(used.limit, MEMORY_LIMIT);
    assert.ok(used.peak < MEMORY_LIMIT, `${used.peak} bytes`);
    await container.remove();

    // The limit is real: what does not fit is killed, and says so.
    const tight = ['run', '--detach', '--health-interval=disable', ...HARDENED, '--memory=60m', '--memory-swap=60m'];
    const id = await podman.run(...tight, '--env=PORT=0', '--env=HOST=127.0.0.1', IMAGE);
    await podman.run('wait', id);
    assert.notEqual(await podman.run('inspect', '--format', '{{.State.ExitCode}}', id), '0');
    await podman.run('rm', '--force', id);
  });

  test('starts no more workers than it may use processors', async () => {
    const env = { WORKERS: '' };
    const container = await startContainer(podman, { image: IMAGE, env, options: ['--cpus=1', '--memory=1536m'] });
    assert.match(await container.logs(), /"workers":1,/);
    await container.remove();
  });

  test('SIGTERM: no longer ready, still alive, answers what is in hand, exits with 0', async () => {
    const env = { DRAIN_DELAY_MS: '3000' };
    const container = await startContainer(podman, { image: IMAGE, env, options: ['--memory=1536m'] });
    const begun = performance.now();
    await podman.run('kill', '--signal=TERM', container.id);
    await delay(200);
    const [ready, live, late] = await Promise.all([
      container.node('src/cli/health.ts', 'ready'),
      container.node('src/cli/health.ts', 'live'),
      classify(container.url, { text: 'In time.' }),
    ]);
    assert.equal(ready.code, 1, ready.stderr);
    assert.match(ready.stderr, /answers 503/);
    assert.equal(live.code, 0, live.stderr);
    assert.equal(late.results.length, 1);
    assert.equal(await podman.run('wait', container.id), '0');
    assert.ok(performance.now() - begun < 45_000, 'within the grace period of k8s/base and docker-compose.yml');
    await container.remove();
  });

  test('a wrong setting ends it with a message, not with a stack', async () => {
    const { code, stderr } = await podman.attempt('run', '--rm', ...HARDENED, '--env=PORT=99999', IMAGE);
    assert.equal(code, 1);
    assert.match(stderr, /PORT/);
    assert.doesNotMatch(stderr, /\n\s+at /);
  });

  test('serves models from a volume, and runs its other commands', async () => {
    const options = [`--volume=${join(ROOT, 'models/olid-minilm')}:/models/olid-minilm:ro`, '--memory=1536m'];
    const container = await startContainer(podman, { image: IMAGE, options, env: { MODELS_DIR: '/models' } });
    const { models } = (await (await fetch(`${container.url}/models`)).json()) as { models: { name: string }[] };
    assert.deepEqual(
      models.map(({ name }) => name),
      ['olid-minilm'],
    );
    await container.remove();

    const help = await podman.attempt('run', '--rm', ...HARDENED, IMAGE, 'src/cli/classify.ts', '--help');
    assert.equal(help.code, 0, help.stderr);
    assert.match(help.stdout, /--text-column/);
  });

  if (process.env.DSLORA_TEST_FULL) {
    test('the same commit makes the same layers', async () => {
      await buildImage(podman, `${IMAGE}-again`, '--target', 'cpu', '--no-cache');
      // All but the last: what Node compiled is not the same twice, though it means the same.
      const layers = async (image: string) =>
        (
          JSON.parse(await podman.run('image', 'inspect', '--format', '{{json .RootFS.Layers}}', image)) as string[]
        ).slice(0, -1);
      assert.deepEqual(await layers(`${IMAGE}-again`), await layers(IMAGE));
    });
  }
});
