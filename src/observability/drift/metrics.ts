/** Drift as metrics, worked out at each scrape: one series a label and layer of each served version. */
import { Gauge } from 'prom-client';

import type { Engine } from '../../engine/types.ts';
import type { Drift, DriftReport } from './drift.ts';

type Indexes = NonNullable<DriftReport['indexes']>;

export function driftMetrics(drift: Pick<Drift, 'report'>, engine: Pick<Engine, 'models'>): Gauge[] {
  const reports = onceAScrape(() => engine.models().map((model) => [model, drift.report(model)] as const));
  /** @param values labels beside model and version, and a value */
  const gauge = (
    name: string,
    help: string,
    labels: readonly string[],
    values: (report: DriftReport) => readonly (readonly [Record<string, string>, number])[],
  ) =>
    new Gauge({
      name: `dslora_drift_${name}`,
      help,
      labelNames: ['model', 'version', ...labels],
      registers: [],
      collect() {
        // What is not served any more has no series.
        this.reset();
        for (const [{ name: model, version }, report] of reports())
          for (const [own, value] of values(report)) this.set({ model, version, ...own }, value);
      },
    });
  const indexed =
    (values: (indexes: Indexes) => readonly (readonly [Record<string, string>, number])[]) =>
    ({ indexes }: DriftReport) =>
      indexes === undefined ? [] : values(indexes);

  return [
    gauge(
      'probability_psi',
      'Population stability index of the probability of a label against the development split.',
      ['label'],
      indexed(({ probabilities }) => probabilities.map(({ label, psi }) => [{ label }, psi])),
    ),
    gauge(
      'gate_psi',
      'Population stability index of the gates of a layer against the development split, mean over its modules.',
      ['layer'],
      indexed(({ gates }) => gates.map(({ layer, psi }) => [{ layer }, psi])),
    ),
    gauge(
      'tokens_psi',
      'Population stability index of the length of texts against the development split.',
      [],
      indexed(({ tokens }) => (tokens === undefined ? [] : [[{}, tokens]])),
    ),
    gauge('texts', 'Texts in the window that drift is measured on.', [], ({ texts }) => [[{}, texts]]),
  ];
}

/** The registry asks all its metrics in one turn of the event loop: what the first of them works out serves the others. */
function onceAScrape<Value>(work: () => Value): () => Value {
  let found: { readonly value: Value } | undefined;
  return () => {
    if (found === undefined) {
      found = { value: work() };
      queueMicrotask(() => {
        found = undefined;
      });
    }
    return found.value;
  };
}
