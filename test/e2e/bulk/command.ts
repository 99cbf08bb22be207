/** `dslora-classify` as a real process. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

import { FIXTURES } from '../service.ts';

const COMMAND = fileURLToPath(new URL('../../../src/cli/classify.ts', import.meta.url));

export interface Ended {
  /** null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly process: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
}

export function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Started {
  const child = spawn(process.execPath, [COMMAND, ...args], {
    env: { ...process.env, MODELS_DIR: FIXTURES, WORKERS: '1', ...env },
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...output }));
  return { process: child, ended };
}

export function classify(args: readonly string[], input = '', env: Readonly<Record<string, string>> = {}) {
  const { process: child, ended } = start(args, env);
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  return ended;
}

/** A folder that is removed after the test. */
export async function folder(t: Pick<TestContext, 'after'>): Promise<(name: string) => string> {
  const path = await mkdtemp(join(tmpdir(), 'bulk-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return (name) => join(path, name);
}
