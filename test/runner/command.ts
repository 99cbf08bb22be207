/** Runs a program to its end, in the repository, with Node 24 and the project's tools first on the path. */
import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { check, type Outcome } from './outcome.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Finished {
  /** null when a signal ended it. */
  readonly code: number | null;
  /** Standard output and error, as they came. */
  readonly output: string;
}

/**
 * @param folder relative to the repository's root
 * @param env beside this process's own
 */
export function runCommand(
  program: string,
  args: readonly string[],
  folder = '.',
  env: Readonly<Record<string, string>> = {},
): Promise<Finished> {
  const path = [join(ROOT, 'node_modules/.bin'), process.env.PATH].join(delimiter);
  const child = spawn(program, args, {
    cwd: join(ROOT, folder),
    env: { ...process.env, ...env, PATH: path },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
  }
  return new Promise((resolve) => {
    child.on('error', (error) => resolve({ code: null, output: `${program} cannot be started: ${error.message}` }));
    child.on('close', (code) => resolve({ code, output }));
  });
}

export async function checkCommand(program: string, args: readonly string[], folder?: string): Promise<Outcome> {
  const { code, output } = await runCommand(program, args, folder);
  return check(code === 0, output);
}
