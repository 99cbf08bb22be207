/**
 * Two services behind nginx, restarted one after the other under load: what clients lose.
 *
 *     node test/reliability/rolling-restart.ts [--restarts 6] [--models models] [--model olid-minilm] [--save FILE]
 *
 * As a deployment does it: SIGTERM, wait until the process ends, start its successor, wait until it is ready, then the
 * other one. nginx (Debian's, found on the path or as NGINX) knows nothing of readiness but what its passive checks and
 * retries tell it. Prints JSON; ends with 1 when a request got no 200 or another text's answer.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { syntheticTexts } from '../../bench/texts.ts';
import { freePort } from '../free-port.ts';
import { createClient, referenceOf, startLoad } from './load.ts';
import { conclude } from './verdict.ts';

const { values: options } = parseArgs({
  options: {
    restarts: { type: 'string', default: '6' },
    models: { type: 'string', default: 'models' },
    model: { type: 'string', default: 'olid-minilm' },
    save: { type: 'string' },
  },
});
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const TEXTS = 200;
const CONNECTIONS = 8;
const TEXTS_OF_A_REQUEST = 2;
const DRAIN_DELAY_MS = 1_500;
const READY_TIMEOUT_MS = 60_000;

const folder = await mkdtemp(join(tmpdir(), 'rolling-'));
const children: ChildProcess[] = [];
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
try {
  const ports = [await freePort(), await freePort()] as const;
  const front = await freePort();
  const services = await Promise.all(ports.map(startService));
  await startNginx(front, ports);
  const client = createClient(`http://127.0.0.1:${front}`);
  const reference = await referenceOf(client, options.model, syntheticTexts(TEXTS));
  const load = startLoad(client, {
    model: options.model,
    reference,
    connections: CONNECTIONS,
    textsOfARequest: TEXTS_OF_A_REQUEST,
  });
  const exitCodes: (number | null)[] = [];
  await delay(1_000);
  for (let restart = 0; restart < Number(options.restarts); restart++) {
    const which = restart % 2;
    const ended = once(services[which] as ChildProcess, 'exit');
    services[which]?.kill('SIGTERM');
    exitCodes.push((await ended)[0] as number | null);
    services[which] = await startService(ports[which] as number);
    await delay(500);
  }
  const tally = await load.stop();
  client.close();
  const holds = {
    requests: tally.lost === 0 && tally.wrong === 0 && Object.keys(tally.answered).every((status) => status === '200'),
    exits: exitCodes.every((code) => code === 0),
  };
  const result = { restarts: exitCodes.length, exitCodes, ...tally, holds };
  conclude(result, options.save);
} finally {
  for (const child of children) child.kill('SIGTERM');
  await Promise.all(children.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')));
  await rm(folder, { recursive: true });
}

async function startService(port: number): Promise<ChildProcess> {
  const env = {
    ...process.env,
    HOST: '127.0.0.1',
    PORT: String(port),
    MODELS_DIR: options.models,
    DEFAULT_MODEL: options.model,
    WORKERS: '1',
    QUEUE_WAIT_MS: '60000',
    DRAIN_DELAY_MS: String(DRAIN_DELAY_MS),
    LOG_LEVEL: 'warn',
  };
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  children.push(child);
  await answers(`http://127.0.0.1:${port}/health/ready`);
  return child;
}

async function startNginx(port: number, backends: readonly number[]): Promise<void> {
  const servers = backends.map((backend) => `server 127.0.0.1:${backend} max_fails=1 fail_timeout=1s;`);
  const configuration = join(folder, 'nginx.conf');
  await writeFile(
    configuration,
    `daemon off; master_process off; error_log stderr crit; pid ${folder}/nginx.pid;
    events { worker_connections 1024; }
    http {
      access_log off;
      client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
      uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
      upstream service { ${servers.join(' ')} keepalive 16; }
      server {
        listen 127.0.0.1:${port};
        client_body_buffer_size 1m;
        location / {
          proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection "";
          # Classifying changes nothing, so a request that a process did not take may be asked of the other.
          proxy_next_upstream error timeout http_503 non_idempotent;
        }
      }
    }`,
  );
  const nginx = spawn(process.env.NGINX ?? 'nginx', ['-c', configuration, '-p', folder], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  children.push(nginx);
  await answers(`http://127.0.0.1:${port}/health/ready`);
}

async function answers(url: string): Promise<void> {
  const end = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const status = await fetch(url).then(
      (answer) => answer.status,
      () => 0,
    );
    if (status === 200) return;
    if (performance.now() > end) throw new Error(`No answer from ${url}`);
    await delay(50);
  }
}
