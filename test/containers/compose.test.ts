/** docker-compose.yml as Docker Compose itself reads it, and held to k8s/ and to what is mounted. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';

import { CONTAINERS } from '../runner/python-environment.ts';
import { ROOT } from './build.ts';

interface Service {
  readonly image: string;
  readonly user: string;
  readonly read_only: boolean;
  readonly cap_drop: readonly string[];
  readonly security_opt: readonly string[];
  readonly privileged?: boolean;
  readonly network_mode?: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly stop_grace_period?: string;
  readonly healthcheck: { readonly test: readonly string[]; readonly start_period: string };
  readonly ports: readonly { readonly host_ip?: string; readonly target: number; readonly published: string }[];
  readonly volumes: readonly {
    readonly type: string;
    readonly source: string;
    readonly target: string;
    readonly read_only?: boolean;
  }[];
  readonly deploy: {
    readonly resources: { readonly limits: Limits; readonly reservations?: { readonly memory: string } };
  };
}

interface Limits {
  readonly cpus: number;
  readonly memory: string;
  readonly pids: number;
}

interface Deployment {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly securityContext: { readonly runAsUser: number };
        readonly containers: readonly {
          readonly image: string;
          readonly resources: {
            readonly requests: { memory: string };
            readonly limits: { cpu: string; memory: string };
          };
        }[];
      };
    };
  };
}

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');
/** Without what whoever runs the tests has set. */
const env = { PATH: process.env.PATH, HOME: process.env.HOME };
const program = join(dirname(CONTAINERS.python), 'docker-compose');

describe('docker-compose.yml', {
  skip: existsSync(program) ? false : 'docker-compose is missing: npm test brings it',
}, () => {
  const text = existsSync(program)
    ? execFileSync(program, ['config', '--format', 'json'], { cwd: ROOT, encoding: 'utf8', env })
    : '{"services":{}}';
  const { services } = JSON.parse(text) as { services: Readonly<Record<string, Service>> };
  const { dslora, prometheus, grafana } = services as Record<'dslora' | 'prometheus' | 'grafana', Service>;

  test('has the service, Prometheus and Grafana, each in a fixed version', () => {
    assert.deepEqual(Object.keys(services).sort(), ['dslora', 'grafana', 'prometheus']);
    for (const { image } of Object.values(services)) assert.match(image, /:v?\d+\.\d+\.\d+$/);
    const { version } = JSON.parse(read('package.json')) as { version: string };
    assert.equal(dslora.image, `ds-lora-service:${version}`);
  });

  test('gives none of them a right that it does not need', () => {
    for (const [name, service] of Object.entries(services)) {
      assert.equal(service.read_only, true, name);
      assert.deepEqual(service.cap_drop, ['ALL'], name);
      assert.deepEqual(service.security_opt, ['no-new-privileges:true'], name);
      assert.match(service.user, /^[1-9]\d*:[1-9]\d*$/, name);
      assert.equal(service.privileged, undefined, name);
      assert.equal(service.network_mode, undefined, name);
    }
  });

  test('bounds each of them and asks each for its health', () => {
    for (const [name, { deploy, healthcheck }] of Object.entries(services)) {
      const { cpus, memory, pids } = deploy.resources.limits;
      assert.ok(cpus > 0 && Number(memory) > 0 && pids > 0, name);
      // Without a shell: the service's image has none.
      assert.equal(healthcheck.test[0], 'CMD', name);
    }
  });

  test('mounts what there is, read-only, and keeps data in named volumes', () => {
    for (const [name, { volumes }] of Object.entries(services)) {
      for (const { type, source, target, read_only } of volumes) {
        if (type === 'volume') continue;
        assert.equal(read_only, true, `${name} may write ${target}`);
        assert.ok(existsSync(source), `${source} is mounted and does not exist`);
      }
    }
    assert.deepEqual(
      Object.values(services)
        .flatMap(({ volumes }) => volumes.filter(({ type }) => type === 'volume'))
        .map(({ target }) => target)
        .sort(),
      ['/prometheus', '/var/lib/grafana'],
    );
  });

  test('shows nothing but the service to other machines', () => {
    for (const { ports } of [prometheus, grafana])
      assert.deepEqual(
        ports.map(({ host_ip }) => host_ip),
        ['127.0.0.1'],
      );
  });

  test('Prometheus finds the service and the rules, Grafana finds Prometheus and the dashboard', () => {
    const targets = (service: Service) => service.volumes.map(({ target }) => target);
    const configuration = parse(read('monitoring/prometheus/prometheus.yml')) as {
      rule_files: readonly string[];
      scrape_configs: readonly { static_configs: readonly { targets: readonly string[] }[] }[];
    };
    for (const rules of configuration.rule_files)
      assert.ok(targets(prometheus).includes(join('/etc/prometheus', rules)), `${rules} is not mounted`);
    const scraped = configuration.scrape_configs.flatMap(({ static_configs }) =>
      static_configs.flatMap((one) => one.targets),
    );
    assert.ok(scraped.includes(`dslora:${dslora.ports[0]?.target}`), scraped.join(' '));

    const sources = parse(read('monitoring/grafana/provisioning/datasources/prometheus.yml')) as {
      datasources: readonly { url: string }[];
    };
    assert.deepEqual(
      sources.datasources.map(({ url }) => url),
      [`http://prometheus:${prometheus.ports[0]?.target}`],
    );
    const boards = parse(read('monitoring/grafana/provisioning/dashboards/dslora.yml')) as {
      providers: readonly { options: { path: string } }[];
    };
    for (const { options } of boards.providers) assert.ok(targets(grafana).includes(options.path), options.path);
    const home = grafana.environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH ?? '';
    assert.ok(existsSync(home.replace('/var/lib/grafana', join(ROOT, 'monitoring/grafana'))), home);
  });

  test('runs the service as k8s/base does', () => {
    const { spec } = (parse(read('k8s/base/deployment.yaml')) as Deployment).spec.template;
    const [container] = spec.containers;
    assert.ok(container !== undefined);
    const { limits, requests } = container.resources;
    const resources = dslora.deploy.resources;
    assert.equal(resources.limits.cpus, Number(limits.cpu));
    assert.equal(Number(resources.limits.memory), bytes(limits.memory));
    assert.equal(Number(resources.reservations?.memory), bytes(requests.memory));
    assert.equal(dslora.stop_grace_period, `${spec.terminationGracePeriodSeconds}s`);
    assert.equal(dslora.user.split(':')[0], String(spec.securityContext.runAsUser));
    assert.equal(dslora.image.split(':')[0], container.image);

    const settings = read('k8s/base/settings.env').matchAll(/^([A-Z_]+)=(.*)$/gm);
    /** Of clusters: other ports and probes, a load balancer that has to notice, models that do not change. */
    const ofClusters = new Set(['PORT', 'OPS_PORT', 'DRAIN_DELAY_MS', 'MODELS_POLL_MS', 'EXECUTION_PROVIDER']);
    for (const [, name = '', value] of settings)
      if (!ofClusters.has(name)) assert.equal(dslora.environment[name], value, name);
  });
});

/** `1536Mi` -> bytes. */
function bytes(quantity: string): number {
  const [, amount, unit] = /^(\d+)(Mi|Gi)$/.exec(quantity) ?? [];
  assert.ok(unit !== undefined, quantity);
  return Number(amount) * (unit === 'Gi' ? 1024 : 1) * 1024 * 1024;
}
