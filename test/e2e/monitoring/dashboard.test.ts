/** Prometheus with our configuration scrapes the real service under load, and every panel of the dashboard has data. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';

import { startReceiver } from '../otlp-receiver.ts';
import { skipWithout } from '../program.ts';
import { type Service, startService } from '../service.ts';
import { type Drawing, drawPanels } from './draw.ts';
import { startPrometheus } from './prometheus.ts';

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

const LOAD_MS = 12_000;
const CLIENTS = 4;
const dashboard = JSON.parse(
  readFileSync(new URL('../../../monitoring/grafana/dashboards/dslora.json', import.meta.url), 'utf8'),
) as { panels: readonly Panel[]; templating: { list: readonly { name: string; allValue: string }[] } };

/** As Grafana does it: the variables of the dashboard, and an interval that holds several scrapes. */
function resolve(expr: string): string {
  const [model] = dashboard.templating.list;
  return expr.replaceAll('$__rate_interval', '8s').replaceAll(`$${model?.name}`, model?.allValue ?? '');
}

/** Small requests without a pause, some large ones that are refused, and some whose time is too short. */
async function load(service: Service): Promise<void> {
  const until = performance.now() + LOAD_MS;
  const json = { 'content-type': 'application/json' };
  let sent = 0;
  const client = async () => {
    while (performance.now() < until) {
      const k = sent++;
      const text = `you are kind number ${k}`;
      const hurried = k % 20 === 1 ? { 'x-request-timeout-ms': '1' } : {};
      const texts = k % 10 === 0 ? Array.from({ length: 40 }, (_, more) => `${text} ${more}`) : [text];
      const answer = await service.classify({ texts }, { headers: { ...json, ...hurried } });
      await answer.arrayBuffer();
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
}

describe('the dashboard', () => {
  it('has data in every panel while the service is under load', { skip: skipWithout('prometheus') }, async (t) => {
    const receiver = await startReceiver(t);
    // The queue is so short that it refuses; only one of the two traces, so both formats of metrics are scraped.
    const busy = await startService(t, {
      DRIFT_MIN_TEXTS: '20',
      QUEUE_WINDOWS: '32',
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    });
    const idle = await startService(t);
    const prometheus = await startPrometheus(
      t,
      [busy, idle].map(({ url }) => new URL(url).host),
    );
    await load(busy);

    const empty: string[] = [];
    const drawings: Drawing[] = [];
    for (const { title, targets = [] } of dashboard.panels) {
      const curves: { legend: string; series: Awaited<ReturnType<typeof prometheus.range>>[number] }[] = [];
      for (const { expr, legendFormat } of targets) {
        const found = await prometheus.range(resolve(expr), LOAD_MS / 1000);
        const sound = found.filter(({ values }) => values.some(([, value]) => Number.isFinite(Number(value))));
        if (sound.length === 0) empty.push(`${title}: ${expr}`);
        for (const series of sound)
          curves.push({
            legend: legendFormat.replaceAll(/\{\{(\w+)\}\}/g, (_, label: string) => series.metric[label] ?? '?'),
            series,
          });
      }
      if (targets.length > 0) drawings.push({ title, curves });
    }
    const { DSLORA_DRAW_PANELS: picture } = process.env;
    if (picture !== undefined) writeFileSync(picture, await drawPanels(drawings));
    assert.deepEqual(empty, []);
    assert.ok(drawings.length > 25);
    // Legends name labels that the series have.
    assert.deepEqual(
      drawings.flatMap(({ curves }) => curves.filter(({ legend }) => legend.includes('?'))),
      [],
    );

    assert.deepEqual(await prometheus.ask('label/model/values', { 'match[]': 'dslora_model_info' }), ['tiny']);
    const { groups } = await prometheus.ask<{ groups: { rules: { name: string; health: string }[] }[] }>('rules');
    const rules = groups.flatMap((group) => group.rules);
    assert.ok(rules.length > 25);
    assert.deepEqual(
      rules.filter(({ health }) => health !== 'ok'),
      [],
    );
    const { result: up } = await prometheus.ask<{ result: { value: [number, string] }[] }>('query', {
      query: 'sum(up{job="dslora"})',
    });
    assert.equal(up[0]?.value[1], '2');

    // An example of a slow request leads to its trace.
    const exemplars = await prometheus.ask<{ exemplars: { labels: { trace_id: string } }[] }[]>('query_exemplars', {
      query: 'dslora_http_request_duration_seconds_bucket',
      start: String(Date.now() / 1000 - 60),
      end: String(Date.now() / 1000),
    });
    const ids = exemplars.flatMap((one) => one.exemplars.map(({ labels }) => labels.trace_id));
    assert.ok(ids.length > 0);
    assert.equal(await busy.stop(), 0);
    const traced = new Set(receiver.spans().map(({ traceId }) => traceId));
    assert.ok(ids.some((id) => traced.has(id)));
  });
});
