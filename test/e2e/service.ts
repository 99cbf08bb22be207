/** The service as a real process, on a free port, with everything it prints at hand. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** A bundle of random weights that starts in no time. */
export const FIXTURES = fileURLToPath(new URL('../fixtures', import.meta.url));

/** Folders of bundles: the fixture's, and what ships with the service. */
export const MODEL_FOLDERS: readonly string[] = [FIXTURES, `${ROOT}models`].filter(
  (folder) => existsSync(folder) && readdirSync(folder, { withFileTypes: true }).some((entry) => entry.isDirectory()),
);

/** Milliseconds. Generous, since the machine may be busy with other tests. */
const START_TIMEOUT = 60_000;

type Context = Pick<TestContext, 'after'>;

export interface Service {
  readonly url: string;
  readonly process: ChildProcess;
  /** Everything printed so far. */
  output(): string;
  /** Its log lines about requests. */
  requests(): Readonly<Record<string, unknown>>[];
  /** @returns the exit code, null when a signal ended it */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  readonly exited: Promise<number | null>;
  classify(body: unknown, init?: RequestInit): Promise<Response>;
}

interface Running {
  readonly process: ChildProcess;
  output(): string;
  readonly exited: Promise<number | null>;
}

/** Starts the process and does not wait for anything. Killed after the test if it still runs. */
export function launch(t: Context, env: Readonly<Record<string, string>>, command?: readonly string[]): Running {
  const [program, ...args] = command ?? [process.execPath, 'src/main.ts'];
  const child = spawn(program as string, args, {
    cwd: ROOT,
    env: {
      ...process.env,
      HOST: '127.0.0.1',
      PORT: '0',
      MODELS_DIR: FIXTURES,
      DRAIN_DELAY_MS: '0',
      // A busy machine is slow, and no test but those of this bound is about that.
      QUEUE_WAIT_MS: '60000',
      WORKERS: '1',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
  }
  const exited = once(child, 'close').then(([code]) => code as number | null);
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  return { process: child, output: () => output, exited };
}

/** Starts the process with wrong settings. @returns what it says before it ends with 1 */
export async function refusal(t: Context, env: Readonly<Record<string, string>>): Promise<string> {
  const { exited, output } = launch(t, env);
  assert.equal(await exited, 1, output());
  return output();
}

/** An empty folder that is removed after the test. */
export async function temporaryFolder(t: Context): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'e2e-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** A folder that holds one of the shipped models alone, since each that is served is tried out at every start. */
export async function folderWith(t: Context, model: string): Promise<string> {
  const folder = await temporaryFolder(t);
  await symlink(join(ROOT, 'models', model), join(folder, model));
  return folder;
}

/** Starts the process and waits until it says where it listens. */
export async function startService(
  t: Context,
  env: Readonly<Record<string, string>> = {},
  command?: readonly string[],
): Promise<Service> {
  const running = launch(t, env, command);
  const { output, exited } = running;
  const url = await Promise.race([
    waitFor(() => /Try it:\n.*(https?:\/\/\S+)\/classify.*\n/.exec(output())?.[1], START_TIMEOUT),
    exited.then((code) => Promise.reject(new Error(`ended with ${code} at its start:\n${output()}`))),
  ]);
  return {
    ...running,
    url,
    requests: () =>
      output()
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter(({ msg }) => msg === 'request'),
    stop(signal = 'SIGTERM') {
      running.process.kill(signal);
      return exited;
    },
    classify: (body, init) =>
      fetch(`${url}/classify`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: typeof body === 'string' ? body : JSON.stringify(body),
        ...init,
      }),
  };
}

/** The first value that is not undefined. */
export async function waitFor<T>(look: () => T | undefined, timeoutMs = 10_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`Nothing after ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
