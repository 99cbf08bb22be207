/**
 * Writes the alerts of monitoring/prometheus/alerts.yml as the object that the Prometheus Operator reads.
 *
 *     npm run k8s                write it
 *     npm run k8s -- --check     exit 1 when the committed file differs
 */
import { readFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';

import { keepGenerated } from './generated-file.ts';

const alerts = parse(readFileSync(new URL('../monitoring/prometheus/alerts.yml', import.meta.url), 'utf8'));
const rule = {
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'PrometheusRule',
  metadata: { name: 'dslora', namespace: 'dslora', labels: { 'app.kubernetes.io/name': 'dslora' } },
  spec: alerts,
};
const file = new URL('../k8s/components/monitoring/prometheus-rule.yaml', import.meta.url);
const head = '# Made from monitoring/prometheus/alerts.yml by `npm run k8s`, do not edit.\n';
await keepGenerated(file, 'npm run k8s', () => head + stringify(rule, { lineWidth: 0 }));
