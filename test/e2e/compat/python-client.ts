/** Programs in Python that talk to the service with a protocol's own client. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { CLIENTS } from '../../runner/python-environment.ts';

/** What to give a test as `skip`. */
export const MISSING_PYTHON: string | false =
  !existsSync(CLIENTS.python) && 'test/clients/.venv is missing; npm test makes it';

/**
 * Runs a script of this folder to its end.
 *
 * @param script reads JSON from standard input, finds the service's address as its argument, and prints JSON
 * @throws Error with what it printed when it fails
 */
export async function runPythonClient(script: string, url: string, input: unknown = null): Promise<unknown> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const running = promisify(execFile)(CLIENTS.python, [path, url], { maxBuffer: 1 << 26 });
  running.child.stdin?.end(JSON.stringify(input));
  const { stdout } = await running;
  return JSON.parse(stdout);
}
