/** The image as a container, run as strictly as Kubernetes and Compose run it. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { freePort } from '../free-port.ts';
import type { Finished, Podman } from './podman.ts';

/** Milliseconds. Generous, since the machine may be busy. */
const START_TIMEOUT = 60_000;

/** What k8s/base and docker-compose.yml ask for. */
export const HARDENED: readonly string[] = [
  '--read-only',
  '--read-only-tmpfs=false',
  '--cap-drop=all',
  '--security-opt=no-new-privileges',
  '--pids-limit=256',
];

export interface Container {
  readonly id: string;
  readonly url: string;
  /** Milliseconds from `podman run` until `/health/ready` answered 200. */
  readonly startMs: number;
  /** Milliseconds of `startMs` in which process 1 was there: what is left is the engine's own time. */
  readonly processMs: number;
  /** Process 1 of the container, as the host numbers it. */
  readonly pid: number;
  logs(): Promise<string>;
  /** Runs Node in the container. */
  node(...args: readonly string[]): Promise<Finished>;
  inspect(format: string): Promise<string>;
  remove(): Promise<void>;
}

export interface Start {
  readonly image: string;
  readonly options?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export async function startContainer(podman: Podman, { image, options = [], env = {} }: Start): Promise<Container> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const args = runArguments({ image, options, env: { PORT: String(port), ...env } });
  const begun = performance.now();
  const id = await podman.run('run', ...args);
  const inspect = (format: string) => podman.run('inspect', '--format', format, id);
  const logs = async () => {
    const { stdout, stderr } = await podman.attempt('logs', id);
    return `${stdout}${stderr}`;
  };
  const pid = Number(await inspect('{{.State.Pid}}'));
  const giveUpAt = begun + START_TIMEOUT;
  while (!(await answers(`${url}/health/ready`))) {
    // Not podman's word for it: it takes so much of the processors that the service starts half a second later.
    if (performance.now() > giveUpAt || !existsSync(`/proc/${pid}`))
      throw new Error(`The container did not become ready:\n${await logs()}`);
    await delay(50);
  }
  const ready = performance.now();
  return {
    id,
    url,
    startMs: ready - begun,
    processMs: ageOf(pid) - (performance.now() - ready),
    pid,
    logs,
    inspect,
    node: (...args) => podman.attempt('exec', id, 'node', ...args),
    async remove() {
      await podman.run('rm', '--force', '--time', '0', id);
    },
  };
}

/** There is no systemd that would ask for the health again and again, so the test asks. */
function runArguments({ image, options, env }: Required<Start>): readonly string[] {
  const settings = { HOST: '127.0.0.1', WORKERS: '2', DRAIN_DELAY_MS: '0', ...env };
  const variables = Object.entries(settings).map(([name, value]) => `--env=${name}=${value}`);
  return ['--detach', '--health-interval=disable', ...HARDENED, ...options, ...variables, image];
}

/** Milliseconds since the process was created, to 10 ms: field 22 of proc(5)'s stat, in ticks of 1/100 s since boot. */
function ageOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const startTicks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  const uptimeSeconds = Number.parseFloat(readFileSync('/proc/uptime', 'utf8'));
  return uptimeSeconds * 1000 - startTicks * 10;
}

async function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );
}

export interface Answer {
  readonly results: readonly { readonly probabilities: Record<string, number> }[];
}

export async function classify(url: string, body: object): Promise<Answer> {
  const response = await fetch(`${url}/classify`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()) as Answer;
}

interface Golden {
  readonly tolerance: { readonly int8: { readonly probabilities: number } };
  readonly items: readonly {
    readonly text: string;
    readonly combined?: { readonly probabilities: readonly number[] };
  }[];
}

/** Compares what the service answers with what PyTorch answered when the shipped model was exported. */
export async function compareWithGolden(url: string, models: string, model: string): Promise<void> {
  const { tolerance, items } = JSON.parse(readFileSync(join(models, model, 'golden.json'), 'utf8')) as Golden;
  const scored = items.filter(({ combined }) => combined !== undefined);
  assert.ok(scored.length >= 16);
  const { results } = await classify(url, { texts: scored.map(({ text }) => text), model });
  results.forEach(({ probabilities }, i) => {
    Object.values(probabilities).forEach((value, label) => {
      const expected = scored[i]?.combined?.probabilities[label] as number;
      const distance = Math.abs(value - expected);
      assert.ok(distance <= tolerance.int8.probabilities, `${model}, golden vector ${i} is off by ${distance}`);
    });
  });
}

/** Bytes of memory that the cgroup of a process may use and has used at most; with either version of cgroups. */
export function memoryOf(pid: number): { readonly limit: number; readonly peak: number } {
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
  const path = (controller: string) =>
    lines.map((line) => line.split(':')).find(([, controllers]) => controllers?.split(',').includes(controller))?.[2];
  const first = path('memory');
  const [folder, limit, peak] =
    first === undefined
      ? [`/sys/fs/cgroup${path('')}`, 'memory.max', 'memory.peak']
      : [`/sys/fs/cgroup/memory${first}`, 'memory.limit_in_bytes', 'memory.max_usage_in_bytes'];
  const read = (file: string) => Number(readFileSync(join(folder, file), 'utf8'));
  return { limit: read(limit), peak: read(peak) };
}
