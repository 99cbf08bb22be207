/** The checks of manifests, each shown what it must not let pass. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';

import { type KubernetesObject, overlay } from '../../scripts/kustomize.ts';
import { KUBERNETES } from '../runner/python-environment.ts';
import { schemaProblems } from './custom-resources.ts';
import type { Container, ContainerSecurity, PodSpec } from './objects.ts';
import { CHECKS, referenceProblems } from './references.ts';
import { CONTROLS, OWN_CONTROLS, violations } from './restricted.ts';

const CONTAINER: Container = {
  name: 'service',
  image: 'example/service:1',
  resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { memory: '1Gi' } },
  securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
};
const POD: PodSpec = {
  automountServiceAccountToken: false,
  securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
  containers: [CONTAINER],
};

const withContainer = (change: Partial<Container>): PodSpec => ({ ...POD, containers: [{ ...CONTAINER, ...change }] });
const withSecurity = (change: ContainerSecurity): PodSpec =>
  withContainer({ securityContext: { ...CONTAINER.securityContext, ...change } });
const withPod = (change: PodSpec['securityContext']): PodSpec => ({
  ...POD,
  securityContext: { ...POD.securityContext, ...change },
});

/** Control -> pods that break it and nothing else. */
const BROKEN: Readonly<Record<string, readonly PodSpec[]>> = {
  'no HostProcess': [withPod({ windowsOptions: { hostProcess: true } })],
  'no namespaces of the host': [
    { ...POD, hostNetwork: true },
    { ...POD, hostPID: true },
    { ...POD, hostIPC: true },
  ],
  'not privileged': [withSecurity({ privileged: true })],
  'capabilities: ALL dropped, at most NET_BIND_SERVICE added': [
    withSecurity({ capabilities: {} }),
    withSecurity({ capabilities: { drop: ['NET_RAW'] } }),
    withSecurity({ capabilities: { drop: ['ALL'], add: ['SYS_PTRACE'] } }),
    { ...POD, initContainers: [{ ...CONTAINER, securityContext: { ...CONTAINER.securityContext, capabilities: {} } }] },
  ],
  'only volumes that are not of the host': [
    { ...POD, volumes: [{ name: 'host', hostPath: { path: '/' } }] },
    { ...POD, volumes: [{ name: 'nfs', nfs: { server: 'files', path: '/' } }] },
  ],
  'no ports of the host': [withContainer({ ports: [{ containerPort: 8080, hostPort: 8080 }] })],
  'no other host in probes and hooks': [
    withContainer({ livenessProbe: { httpGet: { path: '/', port: 1, host: '169.254.169.254' } } }),
    withContainer({ lifecycle: { preStop: { httpGet: { host: 'elsewhere' } } } }),
  ],
  'AppArmor is not switched off': [withSecurity({ appArmorProfile: { type: 'Unconfined' } })],
  'SELinux: a type of containers, no user or role': [
    withPod({ seLinuxOptions: { type: 'spc_t' } }),
    withSecurity({ seLinuxOptions: { user: 'system_u' } }),
  ],
  'the usual /proc': [withSecurity({ procMount: 'Unmasked' })],
  'only safe sysctls': [withPod({ sysctls: [{ name: 'kernel.msgmax' }] })],
  'no privilege escalation': [withSecurity({ allowPrivilegeEscalation: true })],
  runAsNonRoot: [withPod({ runAsNonRoot: false }), withSecurity({ runAsNonRoot: false })],
  'no user 0': [withPod({ runAsUser: 0 }), withSecurity({ runAsUser: 0 })],
  'seccomp is set, to RuntimeDefault or Localhost': [
    withPod({ seccompProfile: { type: 'Unconfined' } }),
    withSecurity({ seccompProfile: { type: 'Unconfined' } }),
  ],
  'a numeric user, which the kubelet can tell from root': [
    { ...POD, securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } },
  ],
  'a root file system that is read-only': [withSecurity({ readOnlyRootFilesystem: false })],
  'no token of the API server': [{ ...POD, automountServiceAccountToken: true }],
  'requests of processor and memory, and a limit of memory': [
    withContainer({ resources: { requests: { cpu: '1', memory: '1Gi' } } }),
    withContainer({ resources: { limits: { memory: '1Gi' } } }),
  ],
  'a tagged image': [withContainer({ image: 'example/service' }), withContainer({ image: 'example/service:latest' })],
};

describe('the restricted Pod Security Standard', () => {
  it('lets a pod pass that keeps it', () => assert.deepEqual(violations(POD), []));

  for (const control of [...CONTROLS, ...OWN_CONTROLS])
    it(`demands: ${control.name}`, () => {
      const examples = BROKEN[control.name] ?? [];
      assert.ok(examples.length > 0, 'it has no example');
      for (const example of examples) {
        const found = violations(example);
        assert.equal(found.length, 1, JSON.stringify(found));
        assert.ok(found[0]?.startsWith(control.name), found[0]);
      }
    });
});

describe('references', () => {
  let good: string;
  let training: string;

  before(async () => {
    assert.equal((await KUBERNETES.prepare()).failed, 0);
    good = JSON.stringify(await overlay('gpu'));
    training = JSON.stringify(await overlay('training/several-nodes'));
  });

  /** Check -> what is changed where, and what is said. */
  const BREAKS: readonly (readonly [check: string, from: string | RegExp, to: string, said: RegExp])[] = [
    ['namesExist', '"serviceAccountName":"dslora"', '"serviceAccountName":"other"', /no ServiceAccount other/],
    ['namesExist', '"claimName":"dslora-models"', '"claimName":"models"', /no PersistentVolumeClaim models/],
    ['namesExist', /"configMapRef":\{"name":"[^"]+"/, '"configMapRef":{"name":"gone"', /no ConfigMap gone/],
    ['namesExist', '"optional":true', '"optional":false', /Secret dslora-admin must be optional/],
    ['mountsExist', '"mountPath":"/models","name":"models"', '"mountPath":"/models","name":"model"', /no volume model/],
    ['selectorsMatch', '"targetPort":"http"', '"targetPort":"https"', /Service dslora: its pods have no port https/],
    ['selectorsMatch', '"ports":[{"port":"http"}]', '"ports":[{"port":"web"}]', /NetworkPolicy dslora: .*no port web/],
    [
      'selectorsMatch',
      /("kind":"PodDisruptionBudget".*?"matchLabels":\{[^}]*"app.kubernetes.io\/name":)"dslora"/,
      '$1"x"',
      /selects no pod/,
    ],
    [
      'spreadsItself',
      /("topologySpreadConstraints":.*?"app.kubernetes.io\/component":)"service"/,
      '$1"ops"',
      /spread among other pods/,
    ],
    ['scalesOnce', /("scaleTargetRef":\{[^}]*"name":)"dslora"/, '$1"gone"', /no Deployment gone/],
    ['scalesOnce', '"minReplicas":2', '"minReplicas":1', /1 of 1 pods may go/],
    ['scalesOnce', '"kind":"HorizontalPodAutoscaler"', '"kind":"Other"', /0 autoscalers for 1 deployments/],
    ['settingsHold', '"WORKERS":"1"', '"WORKER":"1"', /no settings of the service: WORKER/],
    ['settingsHold', '"DRAIN_DELAY_MS":"10000"', '"DRAIN_DELAY_MS":"60000"', /more than terminationGracePeriodSeconds/],
    ['settingsHold', '"OPS_PORT":"9090"', '"OPS_PORT":"9091"', /port ops is not OPS_PORT/],
    ['settingsHold', '"EXECUTION_PROVIDER":"cuda"', '"EXECUTION_PROVIDER":"cpu"', /on 2 cores/],
    ['settingsHold', '"MODELS_DIR":"/models"', '"MODELS_DIR":"/elsewhere"', /nothing is mounted at MODELS_DIR/],
  ];
  for (const [check, from, to, said] of BREAKS)
    it(`${check}: ${said.source}`, () => {
      assert.deepEqual(referenceProblems(JSON.parse(good)), []);
      assert.match(good, typeof from === 'string' ? new RegExp(from.replace(/[{}[\]()$.*+?]/g, '\\$&')) : from);
      const broken = JSON.parse(good.replace(from, to)) as KubernetesObject[];
      assert.match(referenceProblems(broken).join('\n'), said);
    });

  const TRAINING_BREAKS: readonly (readonly [check: string, from: string, to: string, said: RegExp])[] = [
    ['nodesMeet', '"completions":2', '"completions":3', /completions, parallelism and --num_machines differ/],
    ['nodesMeet', '"clusterIP":"None"', '"clusterIP":""', /no headless service/],
    ['nodesMeet', 'dslora-training-0.dslora-training', 'dslora-training-0.other', /another name/],
    ['nodesMeet', '"--multi_gpu",', '', /without --multi_gpu/],
    ['nodesMeet', '"containerPort":29500', '"containerPort":1', /no port of the pod/],
    ['failurePolicyAllowed', '"restartPolicy":"Never"', '"restartPolicy":"OnFailure"', /needs restartPolicy Never/],
    ['imagesAgree', 'ds-lora-training:[^"]+', 'ds-lora-training:other', /images of several versions/],
  ];
  for (const [check, from, to, said] of TRAINING_BREAKS)
    it(`${check}: ${said.source}`, () => {
      const outside = (JSON.parse(good) as KubernetesObject[]).filter(({ kind }) => kind === 'PersistentVolumeClaim');
      assert.deepEqual(referenceProblems(JSON.parse(training), outside), []);
      const broken = training.replace(new RegExp(from), to);
      assert.notEqual(broken, training);
      assert.match(referenceProblems(JSON.parse(broken), outside).join('\n'), said);
    });

  it('have an example each', () => {
    const shown = new Set([...BREAKS, ...TRAINING_BREAKS].map(([check]) => check));
    assert.deepEqual([...shown].sort(), Object.keys(CHECKS).sort());
  });
});

describe('schemas of custom resources', () => {
  const scaled = {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: { name: 'x' },
    spec: { scaleTargetRef: { name: 'x' }, triggers: [{ type: 'cpu', metadata: { value: '50' } }] },
  };

  it('refuse wrong types, missing and unknown fields', () => {
    assert.deepEqual(schemaProblems(scaled), []);
    const problems = (spec: object) => (schemaProblems({ ...scaled, spec } as KubernetesObject) ?? []).join('\n');
    assert.match(problems({ ...scaled.spec, minReplicaCount: '3' }), /must be integer/);
    assert.match(problems({ triggers: scaled.spec.triggers }), /scaleTargetRef/);
    assert.equal(problems({ ...scaled.spec, minReplicas: 3 }), 'unknown field spec.minReplicas');
    assert.equal(problems({ ...scaled.spec, advanced: { behaviour: {} } }), 'unknown field spec.advanced.behaviour');
  });

  it('are not made up for other kinds', () =>
    assert.equal(schemaProblems({ apiVersion: 'x/v1', kind: 'Other', metadata: { name: 'x' } }), undefined));
});
