/**
 * The Pod Security Standard "restricted", control by control, with all of "baseline", as Kubernetes documents them:
 * https://kubernetes.io/docs/concepts/security/pod-security-standards/ (1.37). What both demand alike stands once.
 */
import { type Container, containersOf, type PodSpec } from './objects.ts';

export interface Control {
  readonly name: string;
  /** @returns what breaks it */
  check(pod: PodSpec): readonly string[];
}

const VOLUMES = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'image',
  'persistentVolumeClaim',
  'projected',
  'secret',
];
const SYSCTLS = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
];
const SELINUX_TYPES = ['', 'container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t'];

function eachContainer(name: string, broken: (container: Container, pod: PodSpec) => boolean): Control {
  return {
    name,
    check: (pod) =>
      containersOf(pod)
        .filter((container) => broken(container, pod))
        .map((container) => `${name}: container ${container.name}`),
  };
}

function wholePod(name: string, broken: (pod: PodSpec) => boolean): Control {
  return { name, check: (pod) => (broken(pod) ? [name] : []) };
}

/** The contexts that hold for a container, the pod's first. */
const contexts = (container: Container, pod: PodSpec) => [pod.securityContext ?? {}, container.securityContext ?? {}];
const hooks = ({ startupProbe, readinessProbe, livenessProbe, lifecycle }: Container) => [
  startupProbe?.httpGet,
  startupProbe?.tcpSocket,
  readinessProbe?.httpGet,
  readinessProbe?.tcpSocket,
  livenessProbe?.httpGet,
  livenessProbe?.tcpSocket,
  lifecycle?.preStop?.httpGet,
];

export const CONTROLS: readonly Control[] = [
  eachContainer('no HostProcess', (c, pod) => contexts(c, pod).some((s) => s.windowsOptions?.hostProcess === true)),
  wholePod('no namespaces of the host', ({ hostNetwork, hostPID, hostIPC }) =>
    Boolean(hostNetwork || hostPID || hostIPC),
  ),
  eachContainer('not privileged', ({ securityContext }) => securityContext?.privileged === true),
  eachContainer('capabilities: ALL dropped, at most NET_BIND_SERVICE added', ({ securityContext }) => {
    const { add = [], drop = [] } = securityContext?.capabilities ?? {};
    return !drop.includes('ALL') || add.some((name) => name !== 'NET_BIND_SERVICE');
  }),
  wholePod('only volumes that are not of the host', ({ volumes = [] }) =>
    volumes.some(({ name: _, ...types }) => Object.keys(types).some((type) => !VOLUMES.includes(type))),
  ),
  eachContainer('no ports of the host', ({ ports = [] }) => ports.some(({ hostPort = 0 }) => hostPort !== 0)),
  eachContainer('no other host in probes and hooks', (container) =>
    hooks(container).some((hook) => (hook?.host ?? '') !== ''),
  ),
  eachContainer('AppArmor is not switched off', (c, pod) =>
    contexts(c, pod).some((s) => s.appArmorProfile?.type === 'Unconfined'),
  ),
  eachContainer('SELinux: a type of containers, no user or role', (c, pod) =>
    contexts(c, pod).some(
      ({ seLinuxOptions: options = {} }) =>
        !SELINUX_TYPES.includes(options.type ?? '') || (options.user ?? '') !== '' || (options.role ?? '') !== '',
    ),
  ),
  eachContainer('the usual /proc', ({ securityContext }) => (securityContext?.procMount ?? 'Default') !== 'Default'),
  wholePod('only safe sysctls', ({ securityContext }) =>
    (securityContext?.sysctls ?? []).some(({ name }) => !SYSCTLS.includes(name)),
  ),
  eachContainer('no privilege escalation', (c) => c.securityContext?.allowPrivilegeEscalation !== false),
  eachContainer('runAsNonRoot', (c, pod) => {
    const [ofPod, own] = contexts(c, pod);
    return (own?.runAsNonRoot ?? ofPod?.runAsNonRoot) !== true;
  }),
  eachContainer('no user 0', (c, pod) => contexts(c, pod).some(({ runAsUser }) => runAsUser === 0)),
  eachContainer('seccomp is set, to RuntimeDefault or Localhost', (c, pod) => {
    const [ofPod, own] = contexts(c, pod);
    return !['RuntimeDefault', 'Localhost'].includes((own?.seccompProfile ?? ofPod?.seccompProfile)?.type ?? '');
  }),
];

/** What we ask beyond the standard. */
export const OWN_CONTROLS: readonly Control[] = [
  eachContainer('a numeric user, which the kubelet can tell from root', (c, pod) => {
    const [ofPod, own] = contexts(c, pod);
    return typeof (own?.runAsUser ?? ofPod?.runAsUser) !== 'number';
  }),
  eachContainer('a root file system that is read-only', (c) => c.securityContext?.readOnlyRootFilesystem !== true),
  wholePod('no token of the API server', (pod) => pod.automountServiceAccountToken !== false),
  eachContainer('requests of processor and memory, and a limit of memory', ({ resources }) => {
    const { requests = {}, limits = {} } = resources ?? {};
    return requests.cpu === undefined || requests.memory === undefined || limits.memory === undefined;
  }),
  eachContainer('a tagged image', ({ image }) => !/:[^:/]+$/.test(image) || image.endsWith(':latest')),
];

export function violations(pod: PodSpec, controls: readonly Control[] = [...CONTROLS, ...OWN_CONTROLS]): string[] {
  return controls.flatMap((control) => control.check(pod));
}
