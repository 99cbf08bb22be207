/** A V8 CPU profile -> where time went, by kind of work. */

export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  /** Node ids, one a sample. */
  readonly samples: readonly number[];
  /** Microseconds before each sample. */
  readonly timeDeltas: readonly number[];
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  readonly children?: readonly number[];
}

export interface ProfileShares {
  /** Microseconds in which the process did not wait. */
  readonly busyUs: number;
  readonly totalUs: number;
  /** By kind, largest first; shares of the busy time. */
  readonly groups: readonly { readonly group: string; readonly share: number }[];
  /** Functions by the time spent in themselves, largest first; shares of the busy time. */
  readonly functions: readonly {
    readonly name: string;
    readonly place: string;
    readonly group: string;
    readonly share: number;
  }[];
}

const IDLE = '(idle)';
/** The profiler's own session. */
const PROFILER = 'node:inspector';

/**
 * Kinds of work, the first that fits: by the function's file, or, of what is built in and has none, by its name. What fits none (streams,
 * promises, built-in methods) counts for whoever called it.
 */
const GROUPS: readonly { readonly group: string; readonly url?: RegExp; readonly name?: RegExp }[] = [
  { group: 'garbage collection', name: /^\(garbage collector\)$/ },
  { group: PROFILER, url: /^node:(inspector|internal\/util\/inspector)/ },
  { group: 'native code outside JavaScript (system calls, event loop)', name: /^\(program\)$/ },
  {
    group: 'messages to and from workers',
    url: /node:(internal\/child_process|v8$)/,
    name: /^(write|read)(Value|Header|RawBytes|Uint32)/,
  },
  { group: 'JSON', name: /^(parse|stringify)$/, url: /src\/api\/json-body|secure-json-parse/ },
  { group: 'schema validation', url: /node_modules\/(ajv|@fastify\/ajv|fast-uri|typebox)/ },
  { group: 'metrics', url: /src\/observability\/metrics|node_modules\/prom-client/ },
  { group: 'logging', url: /src\/observability|node_modules\/(pino|sonic-boom|thread-stream)/ },
  { group: 'scheduling', url: /src\/engine\/(scheduler|window-queue|admission|pace)/ },
  { group: 'engine: requests, windows, pool', url: /src\/engine\// },
  { group: 'moderation', url: /src\/moderation\// },
  { group: 'answers and routes', url: /src\// },
  { group: 'Fastify', url: /node_modules\/(fastify|@fastify|find-my-way|avvio|reusify|fastq)/ },
  {
    group: 'HTTP and sockets',
    url: /node:(_http|http|net$|internal\/http|internal\/stream_base_commons|internal\/net)/,
  },
  { group: 'abort signals and events', url: /node:(internal\/(event_target|abort_controller)|events$)/ },
  { group: 'timers', url: /node:(internal\/timers|timers)/ },
];
const UNCLAIMED = 'streams, promises and other parts of Node';

export function sharesOf(profile: CpuProfile): ProfileShares {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const groupOfNode = new Map<number, string>();
  const children = new Set(profile.nodes.flatMap(({ children: own = [] }) => own));
  // Deep call trees would overflow a recursion.
  const open = profile.nodes.filter(({ id }) => !children.has(id)).map((node) => ({ node, inherited: UNCLAIMED }));
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const group = ownGroup(next.node) ?? next.inherited;
    groupOfNode.set(next.node.id, group);
    for (const id of next.node.children ?? []) {
      const node = nodes.get(id);
      if (node !== undefined) open.push({ node, inherited: group });
    }
  }

  let busyUs = 0;
  let totalUs = 0;
  const groups = new Map<string, number>();
  const functions = new Map<string, { name: string; place: string; group: string; us: number }>();
  profile.samples.forEach((id, i) => {
    const us = profile.timeDeltas[i] ?? 0;
    totalUs += us;
    const node = nodes.get(id);
    const group = groupOfNode.get(id) ?? UNCLAIMED;
    if (node === undefined || node.callFrame.functionName === IDLE || group === PROFILER) return;
    busyUs += us;
    groups.set(group, (groups.get(group) ?? 0) + us);
    const { name, place } = describe(node);
    const key = `${name} ${place} ${group}`;
    const entry = functions.get(key) ?? { name, place, group, us: 0 };
    entry.us += us;
    functions.set(key, entry);
  });
  const share = (us: number) => (busyUs === 0 ? 0 : us / busyUs);
  return {
    busyUs,
    totalUs,
    groups: [...groups].sort(([, a], [, b]) => b - a).map(([group, us]) => ({ group, share: share(us) })),
    functions: [...functions.values()]
      .sort((a, b) => b.us - a.us)
      .map(({ us, ...rest }) => ({ ...rest, share: share(us) })),
  };
}

function ownGroup({ callFrame: { functionName, url } }: ProfileNode): string | undefined {
  const fits = (rule: (typeof GROUPS)[number]) => (url === '' ? rule.name?.test(functionName) : rule.url?.test(url));
  return GROUPS.find(fits)?.group;
}

/** Paths are cut to what is inside the project, so that a report names no folder of a machine. */
function describe({ callFrame: { functionName, url, lineNumber } }: ProfileNode): { name: string; place: string } {
  const file = url.replace(/^.*\/(?=(src|node_modules)\/)/, '');
  return { name: functionName || '(anonymous)', place: file === '' ? 'built in' : `${file}:${lineNumber + 1}` };
}
