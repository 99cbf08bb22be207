/** The manifests as kustomize renders them: valid, restricted, and in agreement with each other and with the service. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

import type { KubernetesObject } from '../../scripts/kustomize.ts';
import { buildOpsApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { createLifecycle } from '../../src/lifecycle.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { createMetrics } from '../../src/observability/metrics.ts';
import { buildTestApp } from '../api/build-test-app.ts';
import { createFakeEngine } from '../api/fake-engine.ts';
import { runCommand } from '../runner/command.ts';
import { CLIENTS, KUBERNETES } from '../runner/python-environment.ts';
import { isBuiltIn, schemaProblems } from './custom-resources.ts';
import { containersOf, ofKind, podsOf, titleOf } from './objects.ts';
import { environmentOf, isService, referenceProblems } from './references.ts';
import { type Render, renderAll } from './renders.ts';
import { violations } from './restricted.ts';

/** The oldest that the manifests ask for, and the newest whose schemas are there. */
const VERSIONS = ['1.30', '1.37'];

let renders: readonly Render[];
/** Each object once, with the renders that have it. */
let unique: ReadonlyMap<string, { readonly object: KubernetesObject; readonly where: string }>;

before(async () => {
  assert.deepEqual(await KUBERNETES.prepare(), { passed: 1, failed: 0, skips: [], report: '' });
  renders = await renderAll();
  unique = new Map(
    renders.flatMap(({ name, objects }) =>
      objects.map((object) => [JSON.stringify(object), { object, where: `${titleOf(object)} in ${name}` }] as const),
    ),
  );
});

describe('manifests', () => {
  for (const version of VERSIONS)
    it(`hold to the schemas of Kubernetes ${version}, unknown fields refused`, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'dslora-k8s-'));
      try {
        const builtIn = [...unique.values()].map(({ object }) => object).filter(isBuiltIn);
        assert.ok(builtIn.length > 20);
        const file = join(folder, 'objects.yaml');
        writeFileSync(file, builtIn.map((object) => JSON.stringify(object)).join('\n---\n'));
        const validate = join(KUBERNETES.python, '../kubernetes-validate');
        const { code, output } = await runCommand(validate, ['--strict', '-k', version, file]);
        const passed = output.split('\n').filter((line) => line.includes('passed for resource')).length;
        assert.deepEqual({ code, passed }, { code: 0, passed: builtIn.length }, output);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

  it('hold to the schemas of the Prometheus Operator and of KEDA', () => {
    const checked = [...unique.values()].flatMap(({ object, where }) => {
      const problems = isBuiltIn(object) ? undefined : schemaProblems(object);
      if (problems === undefined) return [];
      assert.deepEqual(problems, [], where);
      return [object.kind];
    });
    assert.deepEqual([...new Set(checked)].sort(), ['PrometheusRule', 'ScaledObject', 'ServiceMonitor']);
  });

  it("have fields that KServe's own SDK knows", async () => {
    assert.equal((await CLIENTS.prepare()).failed, 0);
    const objects = [...unique.values()]
      .map(({ object }) => object)
      .filter((o) => /^serving\.kserve/.test(o.apiVersion));
    assert.deepEqual(new Set(objects.map(({ kind }) => kind)), new Set(['ServingRuntime', 'InferenceService']));
    // In one call, since the SDK takes seconds to import.
    const text = JSON.stringify(objects)
      .replaceAll('failureThreshold', 'failureTreshold')
      .replaceAll('"minReplicas":3', '"minReplicas":"3"');
    const broken = JSON.parse(text) as KubernetesObject[];
    const [problems = [], found = []] = sdkProblems([objects, broken]);
    assert.deepEqual(problems, []);
    for (const expected of ['failureTreshold: unknown field of V1Probe', 'minReplicas: expected int'])
      assert.ok(
        found.some((line) => line.includes(expected)),
        found.join('\n'),
      );
  });

  it('are of a kind that one of these knows', () => {
    const unknown = [...unique.values()].filter(
      ({ object }) =>
        !isBuiltIn(object) && schemaProblems(object) === undefined && !/^serving\.kserve/.test(object.apiVersion),
    );
    assert.deepEqual(
      unknown.map(({ where }) => where),
      [],
    );
  });

  it('make pods of the restricted Pod Security Standard', () => {
    for (const { name, objects } of renders) {
      const pods = podsOf(objects);
      assert.ok(pods.length > 0, name);
      for (const { owner, spec } of pods) assert.deepEqual(violations(spec), [], `${name}: ${owner}`);
    }
  });

  it('agree with each other and with the settings of the service', () => {
    // Training writes to the volume that the service has.
    const volume = renders.find(({ name }) => name === 'cpu + models-volume')?.objects ?? [];
    for (const { name, objects } of renders)
      assert.deepEqual(referenceProblems(objects, name.startsWith('training') ? volume : []), [], name);
  });

  it('name the images, the version and the user of the Dockerfile', () => {
    const dockerfile = readFileSync(new URL('../../Dockerfile', import.meta.url), 'utf8');
    const user = Number(/^USER (\d+)/m.exec(dockerfile)?.[1]);
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    const images = new Set<string>();
    for (const { spec } of renders.flatMap(({ objects }) => podsOf(objects))) {
      assert.equal(spec.securityContext?.runAsUser, user);
      for (const { image } of containersOf(spec)) images.add(image);
    }
    assert.deepEqual([...images].sort(), [
      `ds-lora-service:${version}`,
      `ds-lora-service:${version}-cuda`,
      `ds-lora-training:${version}`,
    ]);
    for (const target of ['cpu', 'cuda', 'training'])
      assert.match(dockerfile, new RegExp(`^FROM .+ AS ${target}$`, 'm'));
  });

  it('probe and scrape addresses that the service has, on the ports where it has them', async () => {
    const { app } = await buildTestApp({ opsPort: 9090 });
    const ops = await buildOpsApp({
      engine: createFakeEngine(),
      lifecycle: createLifecycle(),
      logger: createLogger('silent', { write: () => {} }),
      metrics: createMetrics({ process: false }),
      config: { ...loadConfig({}), opsPort: 9090 },
      version: '0.0.0',
    });
    const routes = { http: app, ops };
    let probed = 0;
    for (const { name, objects } of renders) {
      for (const { spec } of podsOf(objects))
        for (const container of spec.containers.filter(isService)) {
          assert.ok(container.startupProbe && container.readinessProbe && container.livenessProbe, name);
          for (const probe of [container.startupProbe, container.readinessProbe, container.livenessProbe]) {
            const { path = '', port = '' } = probe.httpGet ?? {};
            assert.ok(routes[port as 'http'].hasRoute({ method: 'GET', url: path }), `${name}: ${path} on ${port}`);
            probed++;
          }
          assert.match(container.readinessProbe.httpGet?.path ?? '', /ready/);
          assert.match(container.livenessProbe.httpGet?.path ?? '', /live/);
          assert.equal(environmentOf(container, objects).OPS_PORT, '9090');
        }
      for (const monitor of ofKind(objects, 'ServiceMonitor')) {
        const { endpoints } = (monitor as unknown as { spec: { endpoints: { port: 'ops'; path: string }[] } }).spec;
        for (const { port, path } of endpoints) assert.ok(routes[port].hasRoute({ method: 'GET', url: path }), path);
      }
    }
    assert.ok(probed > 0);
    await app.close();
    await ops.close();
  });

  it('are all in the documentation, and nothing else is', () => {
    const page = readFileSync(new URL('../../docs/kubernetes.md', import.meta.url), 'utf8');
    const k8s = new URL('../../k8s/', import.meta.url);
    for (const component of readdirSync(new URL('components', k8s)))
      assert.ok(page.includes(`${component}\``), component);
    const applied = [...page.matchAll(/-k (k8s[\w/-]+)/g)].map(([, folder = '']) => folder);
    assert.ok(applied.length >= 4);
    for (const folder of applied)
      assert.ok(existsSync(new URL(`../../${folder}/kustomization.yaml`, import.meta.url)), folder);
  });

  it('give the alerts to Prometheus as they are tested', () => {
    const alerts = readFileSync(new URL('../../monitoring/prometheus/alerts.yml', import.meta.url), 'utf8');
    const rule = [...unique.values()].find(({ object }) => object.kind === 'PrometheusRule')?.object;
    assert.deepEqual((rule as unknown as { spec: object }).spec, parse(alerts), 'run `npm run k8s`');
  });
});

function sdkProblems(lists: readonly (readonly KubernetesObject[])[]): string[][] {
  const script = fileURLToPath(new URL('./sdk_fields.py', import.meta.url));
  const models = ['InferenceService=V1beta1InferenceService', 'ServingRuntime=V1alpha1ServingRuntime'];
  const input = JSON.stringify(lists);
  const { stdout, stderr } = spawnSync(CLIENTS.python, [script, ...models], { input, encoding: 'utf8' });
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout) as string[][];
}
