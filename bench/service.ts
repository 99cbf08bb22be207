/** The real service as a process of its own, and what can be seen of it from outside. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

import type { Answers } from './probe.ts';
import { type ProcessUse, useOfTree } from './processes.ts';

export interface Service {
  readonly url: string;
  /** Milliseconds from the start of the process until it said that it is ready. */
  readonly startMs: number;
  /** Of the main process and its children, now. */
  use(): readonly ProcessUse[];
  /** The sums of all series of a metric, by its name in the exposition. */
  metrics(): Promise<ReadonlyMap<string, number>>;
  /** Asks the probe in the main process; only with `probe`. */
  ask<Name extends keyof Answers>(name: Name): Promise<Answers[Name]>;
  /** @param signal SIGTERM lets it end by itself */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

export interface ServiceOptions {
  readonly modelsDir: string;
  /** Beside what this process's own environment sets. */
  readonly env?: Readonly<Record<string, string>>;
  /** Loads the probe into the main process. */
  readonly probe?: boolean;
}

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const PROBE = fileURLToPath(new URL('./probe.ts', import.meta.url));
const COMPILE_CACHE = fileURLToPath(new URL('../node_modules/.cache/node', import.meta.url));
const START_TIMEOUT_MS = 60_000;

/** @throws Error when it is not ready within a minute */
export async function startService(options: ServiceOptions): Promise<Service> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const env = {
    // As `npm start` has it.
    NODE_COMPILE_CACHE: COMPILE_CACHE,
    MALLOC_ARENA_MAX: '1',
    ...process.env,
    LOG_LEVEL: 'warn',
    DRAIN_DELAY_MS: '0',
    // Late answers are measured, not cut off.
    ANSWER_TIMEOUT_MS: '60000',
    ...options.env,
    MODELS_DIR: options.modelsDir,
    HOST: '127.0.0.1',
    PORT: `${port}`,
  };
  const flags = options.probe ? ['--import', PROBE] : [];
  const started = performance.now();
  const child = spawn(process.execPath, [...flags, MAIN], { env, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const ended = once(child, 'exit');
  // A benchmark that fails leaves nothing behind that uses the machine.
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  while (!(await answersReady(url))) {
    if (child.exitCode !== null || performance.now() - started > START_TIMEOUT_MS) {
      child.kill('SIGKILL');
      throw new Error('The service did not start: run it by itself with the same settings to see why');
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const startMs = performance.now() - started;

  return {
    url,
    startMs,
    use: () => useOfTree(child.pid as number),
    async metrics() {
      const text = await (await fetch(`${url}/metrics`)).text();
      return sumSeries(text);
    },
    async ask(name) {
      if (!options.probe) throw new Error('The service was started without the probe');
      const answer = once(child, 'message');
      child.send(name);
      return (await answer)[0];
    },
    async stop(signal = 'SIGKILL') {
      child.kill(signal);
      await ended;
      process.off('exit', kill);
    },
  };
}

/** `name{labels} value` lines -> name -> sum over labels. */
export function sumSeries(exposition: string): Map<string, number> {
  const sums = new Map<string, number>();
  for (const line of exposition.split('\n')) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)/.exec(line);
    if (found === null) continue;
    const [, name = '', value] = found;
    sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  return sums;
}

async function answersReady(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/health/ready`);
    await answer.arrayBuffer();
    return answer.status === 200;
  } catch {
    return false;
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
