/**
 * Writes the tables that code is the source of: settings into README.md, errors into docs/errors.md, metrics into
 * docs/metrics.md; and those of measurements, from docs/performance/*.json into docs/performance.md and docs/kubernetes.md.
 *
 *     npm run docs              write them
 *     npm run docs -- --check   exit 1 when a committed table differs
 */
import { problemTable } from '../src/api/problems.ts';
import { configTable } from '../src/config.ts';
import { autoscalingPart } from './autoscaling-docs.ts';
import { keepGenerated, replaceMarked } from './generated-file.ts';
import { metricsPage } from './metric-docs.ts';
import { performancePage } from './performance-docs.ts';

const readme = new URL('../README.md', import.meta.url);
await keepGenerated(readme, 'npm run docs', (present) => replaceMarked(present, 'configuration', configTable()));

const errors = new URL('../docs/errors.md', import.meta.url);
await keepGenerated(errors, 'npm run docs', (present) => replaceMarked(present, 'errors', problemTable()));

const performance = new URL('../docs/performance.md', import.meta.url);
await keepGenerated(performance, 'npm run docs', performancePage);

const kubernetes = new URL('../docs/kubernetes.md', import.meta.url);
await keepGenerated(kubernetes, 'npm run docs', (present) => replaceMarked(present, 'autoscaling', autoscalingPart()));

const metrics = new URL('../docs/metrics.md', import.meta.url);
await keepGenerated(metrics, 'npm run docs', metricsPage);
