/** A real Prometheus with the repository's own configuration, only quicker, and what it answers to queries. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

import { freePort } from '../../free-port.ts';
import { temporaryFolder } from '../service.ts';

const CONFIGURATION = fileURLToPath(new URL('../../../monitoring/prometheus', import.meta.url));
const START_TIMEOUT_MS = 30_000;

export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  /** Seconds since 1970, and the value as text. */
  readonly values: readonly (readonly [number, string])[];
}

export interface Prometheus {
  /** Of the API, below `/api/v1/`. @throws Error with what Prometheus says of a query that it does not accept */
  ask<T>(path: string, parameters?: Readonly<Record<string, string>>): Promise<T>;
  /** The last seconds of a query, one value a second. */
  range(query: string, seconds: number): Promise<readonly Series[]>;
}

/** @param targets hosts and ports of the service */
export async function startPrometheus(t: Pick<TestContext, 'after'>, targets: readonly string[]): Promise<Prometheus> {
  const folder = await temporaryFolder(t);
  const port = await freePort();
  const own = await readFile(join(CONFIGURATION, 'prometheus.yml'), 'utf8');
  const config = own
    .replaceAll(/(_interval|_timeout): \d+s/g, '$1: 1s')
    .replace("['dslora:8080']", JSON.stringify(targets))
    .replace('localhost:9090', `127.0.0.1:${port}`);
  await writeFile(join(folder, 'prometheus.yml'), config);
  await copyFile(join(CONFIGURATION, 'alerts.yml'), join(folder, 'alerts.yml'));
  const args = [
    `--config.file=${folder}/prometheus.yml`,
    `--storage.tsdb.path=${folder}/data`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--enable-feature=exemplar-storage',
    '--log.level=warn',
  ];
  const child = spawn('prometheus', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk;
  });
  const ended = once(child, 'close');
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const url = `http://127.0.0.1:${port}`;
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (
    !(await fetch(`${url}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`Prometheus did not start: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }

  async function ask<T>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<T> {
    const answer = await fetch(`${url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const { status, data, error } = (await answer.json()) as { status: string; data: T; error?: string };
    if (status !== 'success') throw new Error(`${path} ${JSON.stringify(parameters)}: ${error}`);
    return data;
  }

  return {
    ask,
    async range(query, seconds) {
      const end = Date.now() / 1000;
      const window = { start: String(end - seconds), end: String(end), step: '1' };
      return (await ask<{ result: Series[] }>('query_range', { query, ...window })).result;
    },
  };
}
