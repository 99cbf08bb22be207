/** The service, started with just what the manifests give it, and asked as a kubelet and Prometheus would. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { overlay } from '../../scripts/kustomize.ts';
import { launch } from '../e2e/service.ts';
import { freePort } from '../free-port.ts';
import { KUBERNETES } from '../runner/python-environment.ts';
import { podsOf } from './objects.ts';
import { environmentOf } from './references.ts';

/** Milliseconds. Shorter than in a cluster, since a test waits for it. */
const DRAIN_MS = 1500;

describe('a container of the base', () => {
  it('passes its probes, is scraped apart from its clients, and leaves in order', async (t) => {
    assert.equal((await KUBERNETES.prepare()).failed, 0);
    const objects = await overlay('cpu');
    const [pod] = podsOf(objects);
    const container = pod?.spec.containers[0];
    assert.ok(container);
    const [http, ops] = [await freePort(), await freePort()];
    const {
      process: child,
      exited,
      output,
    } = launch(t, {
      ...environmentOf(container, objects),
      PORT: `${http}`,
      OPS_PORT: `${ops}`,
      DRAIN_DELAY_MS: `${DRAIN_MS}`,
      MODELS_DIR: fileURLToPath(new URL('../../models', import.meta.url)),
    });
    const ports: Readonly<Record<string, number>> = { http, ops };
    const ask = (port: string | number, path: string) => fetch(`http://127.0.0.1:${ports[port]}${path}`);
    const probe = async ({ httpGet } = container.readinessProbe ?? {}) =>
      (await ask(httpGet?.port ?? '', httpGet?.path ?? '')).status;

    const { startupProbe, readinessProbe, livenessProbe } = container;
    // Nothing listens before models are ready, so the first answer is the end of the start.
    const deadline = performance.now() + 150_000;
    let started: number | undefined;
    while (started === undefined && performance.now() < deadline && child.exitCode === null) {
      started = await probe(startupProbe).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal(started, 200, output());
    assert.equal(await probe(readinessProbe), 200, 'ready as soon as it answers');
    assert.equal(await probe(livenessProbe), 200);

    const metrics = await ask('ops', '/metrics');
    assert.match(await metrics.text(), /^dslora_model_info\{/m);
    assert.equal((await ask('http', '/metrics')).status, 404);
    const classify = () =>
      fetch(`http://127.0.0.1:${http}/classify`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ text: 'good morning' }),
      });
    assert.equal((await classify()).status, 200);

    child.kill('SIGTERM');
    const signalled = performance.now();
    while ((await probe(readinessProbe)) === 200) assert.ok(performance.now() - signalled < DRAIN_MS, 'still ready');
    assert.equal(await probe(livenessProbe), 200, 'a pod that leaves is not restarted');
    const late = await classify();
    assert.deepEqual([late.status, late.headers.get('connection')], [200, 'close']);
    assert.equal(await exited, 0);
  });
});
