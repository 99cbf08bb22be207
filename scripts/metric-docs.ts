/** The table of docs/metrics.md: what the service registers, and what to do when it moves. */
import { createMetrics, type RegisteredMetric } from '../src/observability/metrics.ts';
import { replaceMarked } from './generated-file.ts';
import { ADVICE } from './metric-advice.ts';

/** Registered whatever is served. */
const NO_MODELS = { models: () => [], defaultModel: () => undefined, repository: () => [] };

function registeredMetrics(): readonly RegisteredMetric[] {
  const metrics = createMetrics({ drift: { driftWindowTexts: 1, driftWindowMinutes: 1, driftMinTexts: 1 } });
  metrics.watch(NO_MODELS as never);
  return metrics.registered();
}

/** @throws Error when a metric has no advice, or advice no metric */
export function metricsPage(present: string): string {
  const metrics = registeredMetrics();
  const names = new Set(metrics.map(({ name }) => name));
  const mute = metrics.filter(({ name }) => ADVICE[name] === undefined).map(({ name }) => name);
  const gone = Object.keys(ADVICE).filter((name) => !names.has(name));
  if (mute.length > 0)
    throw new Error(`Say in scripts/metric-advice.ts what to do when these move: ${mute.join(', ')}`);
  if (gone.length > 0) throw new Error(`scripts/metric-advice.ts speaks of what is not registered: ${gone.join(', ')}`);
  const [own, process] = [true, false].map((wanted) =>
    table(metrics.filter(({ name }) => name.startsWith('dslora_') === wanted)),
  );
  return replaceMarked(replaceMarked(present, 'metrics', own as string), 'process-metrics', process as string);
}

function table(metrics: readonly RegisteredMetric[]): string {
  const rows = metrics.map(({ name, type, labels, help }) => {
    const labelled = labels.map((label) => `\`${label}\``).join(' ');
    return `| \`${name}\` | ${type} | ${labelled} | ${help.replace(/\.$/, '')} | ${ADVICE[name]} |`;
  });
  return ['| metric | type | labels | what it is | when it moves |', '|---|---|---|---|---|', ...rows].join('\n');
}
