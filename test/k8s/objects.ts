/** The parts of Kubernetes objects that checks look at, and the pods that controllers make of them. */
import type { KubernetesObject } from '../../scripts/kustomize.ts';

export type Labels = Readonly<Record<string, string>>;

export interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string | number; readonly host?: string };
  readonly tcpSocket?: { readonly host?: string };
}

export interface ContainerSecurity {
  readonly privileged?: boolean;
  readonly allowPrivilegeEscalation?: boolean;
  readonly runAsNonRoot?: boolean;
  readonly runAsUser?: number;
  readonly readOnlyRootFilesystem?: boolean;
  readonly procMount?: string;
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
  readonly seccompProfile?: { readonly type: string };
  readonly appArmorProfile?: { readonly type: string };
  readonly seLinuxOptions?: { readonly type?: string; readonly user?: string; readonly role?: string };
  readonly windowsOptions?: { readonly hostProcess?: boolean };
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number; readonly hostPort?: number }[];
  readonly env?: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly secretKeyRef?: { readonly name: string; readonly optional?: boolean } };
  }[];
  readonly envFrom?: readonly { readonly configMapRef?: { readonly name: string } }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[];
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly lifecycle?: {
    readonly preStop?: { readonly sleep?: { readonly seconds: number }; readonly httpGet?: { readonly host?: string } };
  };
  readonly resources?: { readonly requests?: Labels; readonly limits?: Labels };
  readonly securityContext?: ContainerSecurity;
}

export interface Volume {
  readonly name: string;
  readonly configMap?: { readonly name: string };
  readonly secret?: { readonly secretName: string; readonly optional?: boolean };
  readonly persistentVolumeClaim?: { readonly claimName: string };
  readonly [type: string]: unknown;
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly ephemeralContainers?: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly hostNetwork?: boolean;
  readonly hostPID?: boolean;
  readonly hostIPC?: boolean;
  readonly subdomain?: string;
  readonly terminationGracePeriodSeconds?: number;
  readonly topologySpreadConstraints?: readonly { readonly labelSelector: { readonly matchLabels: Labels } }[];
  readonly securityContext?: Omit<ContainerSecurity, 'capabilities'> & {
    readonly fsGroup?: number;
    readonly sysctls?: readonly { readonly name: string }[];
  };
}

export interface Pod {
  /** `Deployment dslora` */
  readonly owner: string;
  readonly labels: Labels;
  readonly spec: PodSpec;
}

interface Template {
  readonly metadata?: { readonly labels?: Labels };
  readonly spec: PodSpec;
}

/** What an object is beyond its kind and name. */
export function specOf<T>(object: KubernetesObject): T {
  return (object as KubernetesObject & { readonly spec: T }).spec;
}

export function ofKind(objects: readonly KubernetesObject[], kind: string): KubernetesObject[] {
  return objects.filter((object) => object.kind === kind);
}

export function titleOf({ kind, metadata }: KubernetesObject): string {
  return `${kind} ${metadata.name}`;
}

/** Pods, those of Deployments and Jobs, and those that KServe will make of an InferenceService and its runtime. */
export function podsOf(objects: readonly KubernetesObject[]): Pod[] {
  return objects.flatMap((object) => {
    const owner = titleOf(object);
    if (object.kind === 'Deployment' || object.kind === 'Job') {
      const { template } = specOf<{ readonly template: Template }>(object);
      return [{ owner, labels: template.metadata?.labels ?? {}, spec: template.spec }];
    }
    if (object.kind === 'Pod') return [{ owner, labels: object.metadata.labels ?? {}, spec: specOf<PodSpec>(object) }];
    if (object.kind === 'InferenceService') return [podOfService(object, objects)];
    return [];
  });
}

function podOfService(service: KubernetesObject, objects: readonly KubernetesObject[]): Pod {
  const { predictor } = specOf<{
    readonly predictor: PodSpec & { readonly labels?: Labels; readonly model: { readonly runtime: string } };
  }>(service);
  const runtime = ofKind(objects, 'ServingRuntime').find(({ metadata }) => metadata.name === predictor.model.runtime);
  const containers = runtime === undefined ? [] : specOf<PodSpec>(runtime).containers;
  return { owner: titleOf(service), labels: predictor.labels ?? {}, spec: { ...predictor, containers } };
}

export function containersOf({ containers, initContainers = [], ephemeralContainers = [] }: PodSpec): Container[] {
  return [...initContainers, ...containers, ...ephemeralContainers];
}

export function matches(selector: Labels, labels: Labels): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}
