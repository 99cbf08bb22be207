/**
 * Proves the first command of the README on a fresh copy of the last commit: install, start, a real answer, SIGTERM,
 * exit 0. Also runs every curl command that the README shows.
 *
 *     node test/fresh-copy.ts
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { freePort } from './free-port.ts';

/** Milliseconds, on a machine that may be busy. */
const START_TIMEOUT = 60_000;
const ROOT = fileURLToPath(new URL('..', import.meta.url));

const folder = mkdtempSync(join(tmpdir(), 'fresh-copy-'));
try {
  await prove(join(folder, 'copy'));
} finally {
  rmSync(folder, { recursive: true });
}

async function prove(copy: string): Promise<void> {
  execFileSync('git', ['clone', '--quiet', ROOT, copy]);
  const installed = await timed(() => execFileSync('npm', ['ci'], { cwd: copy }));

  const port = await freePort();
  const env = { ...process.env, PORT: String(port), DRAIN_DELAY_MS: '100' };
  const service = spawn('npm', ['start'], { cwd: copy, env, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(service, 'exit');
  try {
    const started = await timed(async () => {
      const curl = await announced(service.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false }));
      service.stdout.resume();
      checkAnswer(shell(curl));
    });
    for (const command of readmeCommands(copy)) checkAnswer(shell(command.replaceAll(':8080', `:${port}`)));
    service.kill('SIGTERM');
    assert.deepEqual(await exited, [0, null], 'npm start must end with exit code 0 after SIGTERM');
    console.log(`Fresh copy: npm ci ${installed} s, first answer ${started} s after npm start, SIGTERM ends with 0`);
  } finally {
    service.kill('SIGKILL');
  }
}

/** The curl command that the service prints at its start. */
async function announced(output: AsyncIterable<string>): Promise<string> {
  let text = '';
  const timeout = setTimeout(
    () => assert.fail(`npm start says nothing after ${START_TIMEOUT} ms:\n${text}`),
    START_TIMEOUT,
  );
  for await (const chunk of output) {
    text += chunk;
    const command = /^\s*(curl .*)\n/m.exec(text)?.[1];
    if (command === undefined) continue;
    clearTimeout(timeout);
    return command;
  }
  return assert.fail(`npm start ended:\n${text}`);
}

/** Commands at the start of a line; a backslash at the end of a line continues them. */
function readmeCommands(copy: string): readonly string[] {
  const text = readFileSync(join(copy, 'README.md'), 'utf8');
  return [...text.matchAll(/^ *(curl (?:.*\\\n)*.*)$/gm)].map(([, command]) => command as string);
}

function shell(command: string): string {
  return execFileSync('sh', ['-c', command], { encoding: 'utf8' });
}

function checkAnswer(text: string): void {
  const { results } = JSON.parse(text) as {
    results?: { probabilities: Record<string, number>; gates: { mean: number; layers: object[] } | null }[];
  };
  // Other routes have other answers.
  if (results === undefined) return;
  for (const { probabilities, gates } of results) {
    const sum = Object.values(probabilities).reduce((total, value) => total + value, 0);
    assert.ok(Math.abs(sum - 1) < 1e-3, text);
    assert.ok(gates !== null && gates.layers.length > 0, text);
  }
}

async function timed(work: () => unknown): Promise<string> {
  const begun = performance.now();
  await work();
  return ((performance.now() - begun) / 1000).toFixed(1);
}
