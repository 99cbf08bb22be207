/**
 * docker-compose.yml, brought up for real by Docker Compose on podman's socket: the service and Prometheus as Debian has it.
 * Grafana is left out, because its image cannot be had. Networks are the machine's, since nothing here can make a bridge.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { freePort } from '../free-port.ts';
import { CONTAINERS } from '../runner/python-environment.ts';
import { ROOT } from './build.ts';
import type { Built } from './image-content.ts';
import type { Podman } from './podman.ts';
import { classify, memoryOf } from './service-container.ts';

const execute = promisify(execFile);
const PROJECT = 'dslora-test';
/** Milliseconds until the first scrape and the first evaluation of the rules; a busy machine is slow. */
const SCRAPED_WITHIN = 60_000;

interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly health: string }[] }[];
}

interface Targets {
  readonly activeTargets: readonly { readonly labels: { readonly job: string }; readonly health: string }[];
}

/** @param built is asked when the test runs */
export function testComposeUp(built: () => Built): void {
  test('docker compose up: one command, and Prometheus watches the service', async () => {
    const { podman, image } = built();
    await podman.run('tag', image, 'localhost/ds-lora-service:test');
    await standInForPrometheus(podman);
    const [port, prometheusPort] = [await freePort(), await freePort()];
    const socket = join(podman.folder, 'podman.sock');
    const engine = spawn('podman', ['system', 'service', '--time=0', `unix://${socket}`], {
      env: podman.env,
      stdio: 'ignore',
    });
    const engineEnded = once(engine, 'exit');
    const files = [
      '--file',
      join(ROOT, 'docker-compose.yml'),
      '--file',
      await override(podman.folder, port, prometheusPort),
    ];
    const env = {
      PATH: process.env.PATH,
      HOME: podman.folder,
      DOCKER_HOST: `unix://${socket}`,
      DSLORA_VERSION: 'test',
      DSLORA_CPUS: '2',
    };
    const program = join(dirname(CONTAINERS.python), 'docker-compose');
    const compose = (...args: readonly string[]) =>
      execute(program, ['--project-name', PROJECT, '--project-directory', ROOT, ...files, ...args], { env });
    try {
      await appears(socket);
      const up = compose('up', '--detach', '--no-build', '--wait', '--wait-timeout=120', 'dslora', 'prometheus');
      await askForHealthUntil(podman, up);

      const answer = await classify(`http://127.0.0.1:${port}`, { text: 'Good morning.' });
      assert.equal(answer.results.length, 1);
      const ask = askPrometheus(`http://127.0.0.1:${prometheusPort}/api/v1`);
      await eventually(async () => {
        const { activeTargets } = await ask<Targets>('targets?state=active');
        assert.equal(activeTargets.find(({ labels }) => labels.job === 'dslora')?.health, 'up');
        const rules = (await ask<Rules>('rules')).groups.flatMap((group) => group.rules);
        assert.ok(rules.length > 0);
        assert.deepEqual([...new Set(rules.map(({ health }) => health))], ['ok']);
      });

      const inspect = (format: string) => podman.run('inspect', '--format', format, `${PROJECT}-dslora-1`);
      assert.equal(
        await inspect('{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.PidsLimit}} {{.Config.StopTimeout}}'),
        'true 256 45',
      );
      const pid = Number(await inspect('{{.State.Pid}}'));
      assert.equal(memoryOf(pid).limit, 1536 * 1024 * 1024);
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      assert.match(status, /^Uid:\t65532\t/m);
      assert.match(status, /^CapBnd:\t0+$/m);
      assert.match(status, /^NoNewPrivs:\t1$/m);

      await compose('stop');
      assert.equal(await inspect('{{.State.ExitCode}}'), '0');
    } finally {
      await compose('down', '--volumes', '--timeout=1').catch(() => undefined);
      engine.kill();
      await engineEnded;
    }
  });
}

/** Under the name that docker-compose.yml has for it. */
async function standInForPrometheus(podman: Podman): Promise<void> {
  const [, name] =
    /^ +image: (prom\/prometheus:\S+)$/m.exec(await readFile(join(ROOT, 'docker-compose.yml'), 'utf8')) ?? [];
  assert.ok(name !== undefined);
  const context = join(podman.folder, 'prometheus');
  await mkdir(context);
  for (const program of ['prometheus', 'promtool']) {
    const path = execFileSync('sh', ['-c', 'command -v "$1"', 'sh', program], { encoding: 'utf8' }).trim();
    await copyFile(path, join(context, program));
  }
  const steps = [
    'FROM localhost/stand-in:debian',
    'COPY prometheus promtool /bin/',
    'RUN mkdir /prometheus && chown 65534:65534 /prometheus',
    'VOLUME /prometheus',
    'ENTRYPOINT ["/bin/prometheus"]',
  ];
  await writeFile(join(context, 'Dockerfile'), `${steps.join('\n')}\n`);
  await podman.run('build', '--quiet', '--isolation', 'chroot', '--pull=never', '--tag', `localhost/${name}`, context);
}

/** What differs here: the machine's network instead of a bridge, ports that nobody else uses, and scrapes each second. */
async function override(folder: string, port: number, prometheusPort: number): Promise<string> {
  const prometheus = await readFile(join(ROOT, 'monitoring/prometheus/prometheus.yml'), 'utf8');
  const configuration = join(folder, 'prometheus.yml');
  const own = prometheus
    .replaceAll(/(_interval|_timeout): \d+s/g, '$1: 1s')
    .replace('dslora:8080', `dslora:${port}`)
    .replace('localhost:9090', `localhost:${prometheusPort}`);
  await writeFile(configuration, own);
  const lines = [
    'services:',
    '  dslora:',
    '    network_mode: host',
    '    ports: !reset []',
    `    environment: { HOST: 127.0.0.1, PORT: ${port} }`,
    '  prometheus:',
    '    network_mode: host',
    '    ports: !reset []',
    "    extra_hosts: ['dslora:127.0.0.1']",
    '    command:',
    '      - --config.file=/etc/prometheus/prometheus.yml',
    '      - --storage.tsdb.path=/prometheus',
    `      - --web.listen-address=127.0.0.1:${prometheusPort}`,
    `    volumes: ['${configuration}:/etc/prometheus/prometheus.yml:ro']`,
    '    healthcheck:',
    `      test: [CMD, promtool, query, instant, 'http://127.0.0.1:${prometheusPort}', '1']`,
  ];
  const file = join(folder, 'override.yml');
  await writeFile(file, `${lines.join('\n')}\n`);
  return file;
}

/** Docker asks containers for their health by itself; podman has systemd do it, which is not there. */
async function askForHealthUntil(podman: Podman, done: Promise<unknown>): Promise<void> {
  let waiting = true;
  const settled = done.finally(() => {
    waiting = false;
  });
  settled.catch(() => undefined);
  while (waiting) {
    const running = (await podman.attempt('ps', '--quiet')).stdout.split('\n').filter((id) => id !== '');
    for (const id of running) await podman.attempt('healthcheck', 'run', id);
    await delay(200);
  }
  await settled;
}

function askPrometheus(api: string) {
  return async <T>(path: string): Promise<T> => {
    const { data } = (await (await fetch(`${api}/${path}`)).json()) as { data: T };
    return data;
  };
}

async function eventually(holds: () => Promise<void>): Promise<void> {
  for (const until = performance.now() + SCRAPED_WITHIN; ; ) {
    try {
      return await holds();
    } catch (error) {
      if (performance.now() > until) throw error;
      await delay(500);
    }
  }
}

async function appears(file: string): Promise<void> {
  await eventually(async () => {
    await stat(file);
  });
}
