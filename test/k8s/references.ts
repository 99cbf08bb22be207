/** Whether what objects say of each other, and of the service, is so. */

import type { KubernetesObject } from '../../scripts/kustomize.ts';
import { loadConfig, SETTINGS } from '../../src/config.ts';
import {
  type Container,
  containersOf,
  type Labels,
  matches,
  ofKind,
  type Pod,
  podsOf,
  specOf,
  titleOf,
} from './objects.ts';

type Objects = readonly KubernetesObject[];
export type ReferenceCheck = (objects: Objects, pods: readonly Pod[]) => readonly string[];

interface Selector {
  readonly matchLabels?: Labels;
}
interface PolicyPort {
  readonly port?: string | number;
}

const named = (objects: Objects, kind: string, name: string) =>
  ofKind(objects, kind).some(({ metadata }) => metadata.name === name);
const portNames = ({ spec }: Pod) => containersOf(spec).flatMap(({ ports = [] }) => ports.map(({ name }) => name));

/** ConfigMaps, claims and service accounts that pods name exist; Secrets are the operator's, so they must be optional. */
const namesExist: ReferenceCheck = (objects, pods) =>
  pods.flatMap(({ owner, spec }) => {
    const missing = (kind: string, name: string | undefined) =>
      name === undefined || named(objects, kind, name) ? [] : [`${owner}: there is no ${kind} ${name}`];
    return [
      ...missing('ServiceAccount', spec.serviceAccountName),
      ...(spec.volumes ?? []).flatMap(({ configMap, persistentVolumeClaim, secret }) => [
        ...missing('ConfigMap', configMap?.name),
        ...missing('PersistentVolumeClaim', persistentVolumeClaim?.claimName),
        ...(secret === undefined || secret.optional ? [] : [`${owner}: Secret ${secret.secretName} must be optional`]),
      ]),
      ...containersOf(spec).flatMap(({ envFrom = [], env = [] }) => [
        ...envFrom.flatMap(({ configMapRef }) => missing('ConfigMap', configMapRef?.name)),
        ...env.flatMap(({ valueFrom }) =>
          valueFrom?.secretKeyRef === undefined || valueFrom.secretKeyRef.optional
            ? []
            : [`${owner}: Secret ${valueFrom.secretKeyRef.name} must be optional`],
        ),
      ]),
    ];
  });

/** Each mount has its volume and each volume a mount. KServe mounts the model itself. */
const mountsExist: ReferenceCheck = (_objects, pods) =>
  pods.flatMap(({ owner, spec }) => {
    const volumes = (spec.volumes ?? []).map(({ name }) => name);
    const mounts = containersOf(spec).flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name));
    return [
      ...mounts.filter((name) => !volumes.includes(name)).map((name) => `${owner}: no volume ${name}`),
      ...volumes.filter((name) => !mounts.includes(name)).map((name) => `${owner}: nobody mounts ${name}`),
    ];
  });

/** Services, policies and budgets select pods, and name ports that those have. */
const selectorsMatch: ReferenceCheck = (objects, pods) =>
  objects.flatMap((object) => {
    const title = titleOf(object);
    const check = (selector: Labels, ports: readonly (string | number | undefined)[]) => {
      const selected = pods.filter(({ labels }) => matches(selector, labels));
      if (selected.length === 0) return [`${title}: selects no pod`];
      return ports
        .filter((port) => typeof port === 'string')
        .filter((port) => !selected.every((pod) => portNames(pod).includes(port)))
        .map((port) => `${title}: its pods have no port ${port}`);
    };
    if (object.kind === 'Service') {
      const spec = specOf<{ selector: Labels; ports: readonly { targetPort?: string | number }[] }>(object);
      return check(
        spec.selector,
        spec.ports.map(({ targetPort }) => targetPort),
      );
    }
    if (object.kind === 'PodDisruptionBudget')
      return check(specOf<{ selector: Selector }>(object).selector.matchLabels ?? {}, []);
    if (object.kind === 'NetworkPolicy') {
      const spec = specOf<{ podSelector: Selector; ingress?: readonly { ports?: readonly PolicyPort[] }[] }>(object);
      if (spec.podSelector.matchLabels === undefined) return [];
      const ports = (spec.ingress ?? []).flatMap((rule) => (rule.ports ?? []).map(({ port }) => port));
      return check(spec.podSelector.matchLabels, ports);
    }
    if (object.kind === 'ServiceMonitor') return monitorProblems(object, objects);
    return [];
  });

function monitorProblems(monitor: KubernetesObject, objects: Objects): string[] {
  const spec = specOf<{ selector: Selector; endpoints: readonly { port: string; path: string }[]; jobLabel: string }>(
    monitor,
  );
  const services = ofKind(objects, 'Service').filter(({ metadata }) =>
    matches(spec.selector.matchLabels ?? {}, metadata.labels ?? {}),
  );
  const [service] = services;
  if (service === undefined || services.length > 1) return [`${titleOf(monitor)}: selects ${services.length} services`];
  const ports = specOf<{ ports: readonly { name: string }[] }>(service).ports.map(({ name }) => name);
  return [
    ...spec.endpoints
      .filter(({ port }) => !ports.includes(port))
      .map(({ port }) => `${titleOf(monitor)}: no port ${port}`),
    ...(service.metadata.labels?.[spec.jobLabel] === undefined
      ? [`${titleOf(monitor)}: no label ${spec.jobLabel}`]
      : []),
  ];
}

/** Every pod is spread among its own kind. */
const spreadsItself: ReferenceCheck = (_objects, pods) =>
  pods.flatMap(({ owner, labels, spec }) =>
    (spec.topologySpreadConstraints ?? [])
      .filter(({ labelSelector }) => !matches(labelSelector.matchLabels, labels))
      .map(() => `${owner}: is spread among other pods`),
  );

/** One autoscaler for what it scales, which exists; and a budget that neither forbids nor allows everything. */
const scalesOnce: ReferenceCheck = (objects) => {
  const scalers = [...ofKind(objects, 'HorizontalPodAutoscaler'), ...ofKind(objects, 'ScaledObject')];
  const problems = scalers.flatMap((scaler) => {
    const { scaleTargetRef } = specOf<{ scaleTargetRef: { kind: string; name: string } }>(scaler);
    const { kind, name } = scaleTargetRef;
    return named(objects, kind, name) ? [] : [`${titleOf(scaler)}: there is no ${kind} ${name}`];
  });
  const deployments = ofKind(objects, 'Deployment').length;
  if (scalers.length !== deployments) problems.push(`${scalers.length} autoscalers for ${deployments} deployments`);
  for (const deployment of ofKind(objects, 'Deployment'))
    if (specOf<{ replicas?: number }>(deployment).replicas !== undefined)
      problems.push(`${titleOf(deployment)}: replicas would undo what the autoscaler chose`);
  for (const budget of ofKind(objects, 'PodDisruptionBudget')) {
    const { maxUnavailable } = specOf<{ maxUnavailable: string }>(budget);
    for (const scaler of scalers) {
      const { minReplicas, minReplicaCount } = specOf<{ minReplicas?: number; minReplicaCount?: number }>(scaler);
      const least = minReplicas ?? minReplicaCount ?? 1;
      // Kubernetes rounds up.
      const allowed = Math.ceil((Number.parseInt(maxUnavailable, 10) / 100) * least);
      if (allowed < 1 || allowed >= least) problems.push(`${titleOf(budget)}: ${allowed} of ${least} pods may go`);
    }
  }
  return problems;
};

/** What a container of the service gets as its environment. */
export function environmentOf({ envFrom = [], env = [] }: Container, objects: Objects): Record<string, string> {
  const maps = envFrom.flatMap(({ configMapRef }) =>
    ofKind(objects, 'ConfigMap').filter(({ metadata }) => metadata.name === configMapRef?.name),
  );
  const data = maps.map((map) => (map as KubernetesObject & { readonly data: Record<string, string> }).data);
  const own = env.map(({ name, value = '' }) => [name, value] as const);
  return Object.assign({}, ...data, Object.fromEntries(own));
}

export const isService = ({ image, command }: Container) =>
  image.startsWith('ds-lora-service:') && command === undefined;

/** The service takes its settings, and ports, time and cores are those that the pod gives. */
const settingsHold: ReferenceCheck = (objects, pods) =>
  pods.flatMap(({ owner, spec }) =>
    spec.containers.filter(isService).flatMap((container) => {
      const env = environmentOf(container, objects);
      const known = new Set(Object.values(SETTINGS).map((setting) => setting.env as string));
      const unknown = Object.keys(env).filter((name) => !known.has(name));
      if (unknown.length > 0) return [`${owner}: no settings of the service: ${unknown.join(', ')}`];
      const config = loadConfig(env);
      const problems: string[] = [];
      const portOf = (wanted: string) => container.ports?.find(({ name }) => name === wanted)?.containerPort;
      if (portOf('http') !== config.port) problems.push(`${owner}: port http is not PORT`);
      if (portOf('ops') !== config.opsPort) problems.push(`${owner}: port ops is not OPS_PORT`);
      const needed =
        (container.lifecycle?.preStop?.sleep?.seconds ?? 0) +
        (config.drainDelayMs + config.requestTimeoutMs + config.answerTimeoutMs) / 1000 +
        WORKERS_END_SECONDS;
      if ((spec.terminationGracePeriodSeconds ?? 30) < needed)
        problems.push(`${owner}: leaving takes up to ${needed} s, more than terminationGracePeriodSeconds`);
      const cores = Number(container.resources?.requests?.cpu);
      const used = (config.workers ?? Number.NaN) * (config.threads ?? Number.NaN);
      const onGpu = container.resources?.requests?.['nvidia.com/gpu'] !== undefined;
      if (onGpu ? config.executionProvider !== 'cuda' : config.executionProvider !== 'cpu' || used !== cores)
        problems.push(`${owner}: ${used} threads of inference (${config.executionProvider}) on ${cores} cores`);
      const mounted = container.volumeMounts?.some(({ mountPath }) => mountPath === config.modelsDir);
      if (config.modelsDir.startsWith('/') && !mounted && !owner.startsWith('InferenceService'))
        problems.push(`${owner}: nothing is mounted at MODELS_DIR (${config.modelsDir})`);
      return problems;
    }),
  );

/** Seconds that workers get to end. */
const WORKERS_END_SECONDS = 10;

/** One image of one version a role. */
const imagesAgree: ReferenceCheck = (_objects, pods) => {
  const images = new Set(pods.flatMap(({ spec }) => containersOf(spec).map(({ image }) => image)));
  const names = [...images].map((image) => image.split(':')[0] as string);
  return names.length === new Set(names).size ? [] : [`images of several versions: ${[...images].join(', ')}`];
};

/** An Indexed Job has as many pods as accelerate is told, and they meet where the first one is. */
const nodesMeet: ReferenceCheck = (objects) =>
  ofKind(objects, 'Job').flatMap((job) => {
    const spec = specOf<{ completionMode?: string; completions?: number; parallelism?: number }>(job);
    if (spec.completionMode !== 'Indexed') return [];
    const pod = podsOf([job])[0] as Pod;
    const args = containersOf(pod.spec).flatMap((container) => container.args ?? []);
    const option = (name: string) => args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
    const service = ofKind(objects, 'Service').find(({ metadata }) => metadata.name === pod.spec.subdomain);
    const ports = containersOf(pod.spec).flatMap((c) => (c.ports ?? []).map(({ containerPort }) => containerPort));
    const problems: string[] = [];
    if (spec.completions !== spec.parallelism || Number(option('num_machines')) !== spec.completions)
      problems.push(`${titleOf(job)}: completions, parallelism and --num_machines differ`);
    if (option('main_process_ip') !== `${job.metadata.name}-0.${pod.spec.subdomain}`)
      problems.push(`${titleOf(job)}: the first pod has another name than --main_process_ip`);
    if (service === undefined || specOf<{ clusterIP?: string }>(service).clusterIP !== 'None')
      problems.push(`${titleOf(job)}: its subdomain is no headless service`);
    if ((spec.completions ?? 1) > 1 && !args.includes('--multi_gpu'))
      problems.push(`${titleOf(job)}: accelerate starts one process by itself without --multi_gpu`);
    if (!ports.includes(Number(option('main_process_port'))))
      problems.push(`${titleOf(job)}: --main_process_port is no port of the pod`);
    return problems;
  });

/** What the API server refuses and its schemas do not say. */
const failurePolicyAllowed: ReferenceCheck = (objects) =>
  ofKind(objects, 'Job')
    .filter((job) => {
      const { podFailurePolicy, template } = specOf<{ podFailurePolicy?: object; template: { spec: Restart } }>(job);
      return podFailurePolicy !== undefined && template.spec.restartPolicy !== 'Never';
    })
    .map((job) => `${titleOf(job)}: podFailurePolicy needs restartPolicy Never`);

interface Restart {
  readonly restartPolicy?: string;
}

export const CHECKS: Readonly<Record<string, ReferenceCheck>> = {
  namesExist,
  mountsExist,
  selectorsMatch,
  spreadsItself,
  scalesOnce,
  settingsHold,
  imagesAgree,
  nodesMeet,
  failurePolicyAllowed,
};

/** @param outside objects that others apply, as the volume of the models for training */
export function referenceProblems(objects: Objects, outside: Objects = []): string[] {
  const pods = podsOf(objects);
  return Object.values(CHECKS).flatMap((check) =>
    check === namesExist ? check([...objects, ...outside], pods) : check(objects, pods),
  );
}
