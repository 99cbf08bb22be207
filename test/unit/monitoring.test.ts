/** What Prometheus and Grafana are given, held against itself and against the metrics that there are. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createMetrics } from '../../src/observability/metrics.ts';
import { createFakeEngine } from '../api/fake-engine.ts';
import { skipWithout } from '../e2e/program.ts';

const folder = fileURLToPath(new URL('../../monitoring/prometheus/', import.meta.url));
const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const rules = read('monitoring/prometheus/alerts.yml');
const dashboard = JSON.parse(read('monitoring/grafana/dashboards/dslora.json')) as {
  panels: { title: string; targets?: { expr: string }[] }[];
};
const alerts = [...rules.matchAll(/^ {6}- alert: (\w+)$/gm)].map(([, name = '']) => name);

function promtool(...args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}${stderr}`);
}

describe('alert rules', () => {
  const skip = skipWithout('promtool');

  it('are read by Prometheus, with the rest of its configuration', { skip }, () => {
    promtool('check', 'rules', 'alerts.yml');
    promtool('check', 'config', 'prometheus.yml');
  });

  for (const file of readdirSync(folder).filter((name) => name.endsWith('.test.yml')))
    it(`fire when they should and not else (${file})`, { skip }, () => promtool('test', 'rules', file));

  it('are each tested both ways, and have a severity, a runbook and a heading there', () => {
    const tests = read('monitoring/prometheus/alerts.test.yml') + read('monitoring/prometheus/alerts-days.test.yml');
    const headings = new Set([...read('docs/runbooks.md').matchAll(/^### (\w+)$/gm)].map(([, name]) => name));
    assert.deepEqual([...headings].sort(), [...alerts].sort());
    assert.ok(alerts.length >= 15);
    for (const name of alerts) {
      const [, rule = ''] = new RegExp(`- alert: ${name}\\n((?: {8}.*\\n)+)`).exec(rules) ?? [];
      assert.match(rule, /severity: (page|ticket)\n/, name);
      assert.match(rule, new RegExp(`runbook_url: docs/runbooks.md#${name.toLowerCase()}\\n`), name);
      assert.match(rule, /summary: .+\n {10}description: .+\n/, name);
      assert.ok(tests.includes(`alertname="${name}"`), `${name} is never seen firing`);
    }
  });
});

describe('queries', () => {
  it('name metrics that the service has', () => {
    const metrics = createMetrics({ drift: { driftWindowTexts: 1, driftWindowMinutes: 1, driftMinTexts: 1 } });
    metrics.watch(createFakeEngine());
    const names = new Set(
      metrics
        .registered()
        .flatMap(({ name, type }) =>
          type === 'histogram' ? ['_bucket', '_count', '_sum'].map((end) => name + end) : [name],
        ),
    );
    const panels = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    const named = [...panels, rules].flatMap((text) =>
      [...text.matchAll(/(?<![:"\w])(?:dslora|process|nodejs)_\w+/g)].map(([name]) => name),
    );
    assert.ok(named.length > 50);
    for (const name of new Set(named)) assert.ok(names.has(name), name);
    const recorded = new Set([...rules.matchAll(/- record: (\S+)/g)].map(([, name]) => name));
    for (const text of [...panels, rules])
      for (const [name] of text.matchAll(/dslora:\w+:\w+/g)) assert.ok(recorded.has(name), name);
  });
});
