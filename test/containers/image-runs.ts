/** What an image does when it is run as strictly as Kubernetes and Compose run it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { ROOT } from './build.ts';
import type { Built } from './image-content.ts';
import { classify, compareWithGolden, HARDENED, memoryOf, startContainer } from './service-container.ts';

const MODELS = join(ROOT, 'models');
const MEBIBYTE = 1024 * 1024;
/** Of k8s/base and docker-compose.yml. */
const MEMORY_LIMIT = 1536 * MEBIBYTE;

/** @param built is asked when tests run */
export function testRuns(built: () => Built): void {
  test('starts, is well and classifies as the models were verified to', async (t) => {
    const { podman, image } = built();
    const container = await startContainer(podman, { image: image, options: ['--memory=1536m', '--cpus=2'] });
    const [all, own] = [container.startMs, container.processMs].map((ms) => (ms / 1000).toFixed(2));
    t.diagnostic(`ready ${all} s after \`podman run\`, ${own} s after its process was created`);

    assert.equal((await podman.attempt('healthcheck', 'run', container.id)).code, 0, 'HEALTHCHECK');
    const ready = await podman.attempt(
      'exec',
      '--env=NODE_DEBUG_NATIVE=COMPILE_CACHE',
      container.id,
      'node',
      'src/cli/health.ts',
      'ready',
    );
    assert.equal(ready.code, 0, ready.stderr);
    // What was compiled when the image was built is used.
    assert.match(ready.stderr, /\/app\/src\/config\.ts was accepted/);
    for (const model of ['olid-minilm', 'hatexplain-minilm']) await compareWithGolden(container.url, MODELS, model);

    assert.equal(await container.inspect('{{.State.OOMKilled}}'), 'false');
    await container.remove();
  });

  test('runs as any user, without any right, on a file system that cannot be written', async () => {
    const { podman, image } = built();
    const options = ['--user=12345:54321', '--memory=1536m'];
    const container = await startContainer(podman, { image: image, options });
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
    const { podman, image } = built();
    assert.equal(await podman.run('image', 'inspect', '--format', '{{.User}}', image), '65532:65532');
  });

  test('keeps to its memory while it is busy, and is ended when it does not', async (t) => {
    const { podman, image } = built();
    const container = await startContainer(podman, { image: image, options: ['--memory=1536m', '--cpus=2'] });
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
    const id = await podman.run(...tight, '--env=PORT=0', '--env=HOST=127.0.0.1', image);
    await podman.run('wait', id);
    assert.notEqual(await podman.run('inspect', '--format', '{{.State.ExitCode}}', id), '0');
    await podman.run('rm', '--force', id);
  });

  test('starts no more workers than it may use processors', async () => {
    const { podman, image } = built();
    const env = { WORKERS: '' };
    const container = await startContainer(podman, { image: image, env, options: ['--cpus=1', '--memory=1536m'] });
    assert.match(await container.logs(), /"workers":1,/);
    await container.remove();
  });

  test('SIGTERM: no longer ready, still alive, answers what is in hand, exits with 0', async () => {
    const { podman, image } = built();
    const env = { DRAIN_DELAY_MS: '3000' };
    const container = await startContainer(podman, { image: image, env, options: ['--memory=1536m'] });
    const begun = performance.now();
    await podman.run('kill', '--signal=TERM', container.id);
    await delay(100);
    const [ready, live, late] = await Promise.all([
      fetch(`${container.url}/health/ready`),
      fetch(`${container.url}/health/live`),
      classify(container.url, { text: 'In time.' }),
    ]);
    assert.deepEqual([ready.status, live.status], [503, 200]);
    assert.equal(late.results.length, 1);
    assert.equal(await podman.run('wait', container.id), '0');
    assert.ok(performance.now() - begun < 45_000, 'within the grace period of k8s/base and docker-compose.yml');
    await container.remove();
  });

  test('a wrong setting ends it with a message, not with a stack', async () => {
    const { podman, image } = built();
    const { code, stderr } = await podman.attempt('run', '--rm', ...HARDENED, '--env=PORT=99999', image);
    assert.equal(code, 1);
    assert.match(stderr, /PORT/);
    assert.doesNotMatch(stderr, /\n\s+at /);
  });

  test('serves models from a volume, and runs its other commands', async () => {
    const { podman, image } = built();
    const options = [`--volume=${join(ROOT, 'models/olid-minilm')}:/models/olid-minilm:ro`, '--memory=1536m'];
    const container = await startContainer(podman, { image: image, options, env: { MODELS_DIR: '/models' } });
    const { models } = (await (await fetch(`${container.url}/models`)).json()) as { models: { name: string }[] };
    assert.deepEqual(
      models.map(({ name }) => name),
      ['olid-minilm'],
    );
    await container.remove();

    const help = await podman.attempt('run', '--rm', ...HARDENED, image, 'src/cli/classify.ts', '--help');
    assert.equal(help.code, 0, help.stderr);
    assert.match(help.stdout, /--text-column/);
  });
}
