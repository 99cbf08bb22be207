/**
 * What Prometheus is told. Buckets are fixed and every label takes few values: routes, statuses, served models,
 * their labels and layers. Recorded in the main process only, so a scrape asks nobody.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

import type { Engine, EngineObserver, ServedModel, ShadowEvent, TextResult } from '../engine/types.ts';
import { createDrift, type DriftOptions } from './drift/drift.ts';
import { driftMetrics } from './drift/metrics.ts';
import { modelInfo, repositoryBundles } from './served-models.ts';
import type { StandardOutput } from './standard-output.ts';

export interface Metrics {
  readonly contentType: string;
  /** Told of the engine's work. */
  readonly observer: EngineObserver;
  /** @param traceId of a trace that is exported, to find an example of a slow request by */
  requested(route: string, status: number, seconds: number, traceId?: string): void;
  /** What a model said of one text as it was sent. */
  scored(model: ServedModel, result: Pick<TextResult, 'probabilities' | 'gates' | 'tokens'>): void;
  /** @param layerMeans the mean gate of each adapted layer */
  classified(model: string, label: string, layerMeans: Iterable<readonly [layer: number, mean: number]>): void;
  /** @param policy one of the operator's own names */
  decided(policy: string, decision: string): void;
  /** A request that was over its client's limit of requests or texts. */
  rateLimited(limit: string): void;
  /** Keys (`api_keys`) or a certificate (`tls`) were read again, and `taken` or `refused`. */
  credentials(what: string, outcome: string): void;
  /** Spans of traces were exported, or lost. */
  spans(outcome: 'sent' | 'failed', count: number): void;
  /** From now on says which models this engine serves. */
  watch(engine: Engine): void;
  expose(): Promise<string>;
  /** What there is, for documentation and tests. */
  registered(): readonly RegisteredMetric[];
}

export interface RegisteredMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  readonly help: string;
  readonly labels: readonly string[];
}

/** Seconds. A short text takes milliseconds, a full queue seconds. */
const REQUEST_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const WORK_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const BATCH_WINDOWS = [1, 2, 4, 8, 16, 32, 64, 128];
const BATCH_TOKENS = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384];
const SHARES = [
  0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1,
];

const RELOAD_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const DIFFERENCES = [0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
const SHADOW_LABELS = ['model', 'version', 'shadow', 'shadow_version'] as const;

const INTERACTIVE = { priority: 'interactive' };
const BULK = { priority: 'bulk' };

/** Gauges of prom-client whose names end as only a counter's may. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

export interface MetricsOptions {
  /** Whether to measure the process and its event loop too; needs timers, so tests leave it out. */
  readonly process?: boolean;
  /** Drift is not followed if absent. */
  readonly drift?: DriftOptions;
  /** Whether requests are traced: then their durations have trace ids as exemplars, which needs the OpenMetrics format. */
  readonly exemplars?: boolean;
  /** Where log lines go; if absent, none of them is lost. */
  readonly output?: Pick<StandardOutput, 'lost'>;
}

export function createMetrics({
  process = true,
  drift: driftOptions,
  exemplars = false,
  output = { lost: 0 },
}: MetricsOptions = {}): Metrics {
  const registry = new Registry();
  // Its type is that of a registry that was made so; this one decides when it is made.
  if (exemplars) registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
  const drift = driftOptions && createDrift(driftOptions);
  const registers = [registry];
  if (process) {
    collectDefaultMetrics({ register: registry });
    for (const name of MISNAMED) registry.removeSingleMetric(name);
  }

  const histogram = <Label extends string>(name: string, help: string, buckets: number[], labelNames: Label[]) =>
    new Histogram({ name: `dslora_${name}`, help, buckets, labelNames, registers });

  const requestSeconds = new Histogram<'route' | 'status' | 'trace_id'>({
    name: 'dslora_http_request_duration_seconds',
    help: 'Time from request to answer.',
    buckets: REQUEST_SECONDS,
    labelNames: ['route', 'status'],
    enableExemplars: exemplars,
    registers,
  });
  const queueSeconds = histogram('queue_wait_seconds', 'Time a window waited for a worker.', REQUEST_SECONDS, [
    'model',
  ]);
  const tokenizeSeconds = histogram(
    'tokenize_seconds',
    'Time to normalise and tokenise the texts of a request.',
    WORK_SECONDS,
    ['model'],
  );
  const inferenceSeconds = histogram('inference_seconds', 'Time the graph ran on a batch.', WORK_SECONDS, ['model']);
  const batchWindows = histogram('batch_windows', 'Windows in a batch.', BATCH_WINDOWS, ['model']);
  const batchTokens = histogram('batch_tokens', 'Tokens in a batch, without padding.', BATCH_TOKENS, ['model']);
  const paddingShare = histogram('batch_padding_ratio', 'Share of padding in what the graph ran on.', SHARES, [
    'model',
  ]);
  const paddedTokens = new Counter({
    name: 'dslora_padded_tokens_total',
    help: 'Tokens that graphs ran on, padding included; beside dslora_batch_tokens_sum it gives the padding share.',
    labelNames: ['model'],
    registers,
  });
  const gateActivation = histogram('gate_activation_ratio', 'Mean gate of a layer, one observation a text.', SHARES, [
    'model',
    'layer',
  ]);
  const predictions = new Counter({
    name: 'dslora_predictions_total',
    help: 'Texts by most probable class.',
    labelNames: ['model', 'label'],
    registers,
  });
  const decisions = new Counter({
    name: 'dslora_decisions_total',
    help: 'Texts by what a policy decided.',
    labelNames: ['policy', 'decision'],
    registers,
  });
  const queueDepth = new Gauge({
    name: 'dslora_queue_windows',
    help: 'Windows waiting now.',
    labelNames: ['priority'],
    registers,
  });
  const refused = new Counter({
    name: 'dslora_refused_total',
    help: 'Requests that were not taken on, by the bound that was reached; with reason quarantined: texts.',
    labelNames: ['model', 'priority', 'reason'],
    registers,
  });
  const rateLimited = new Counter({
    name: 'dslora_rate_limited_total',
    help: 'Requests refused because their client was over its limit of requests or of texts.',
    labelNames: ['limit'],
    registers,
  });
  const credentialReloads = new Counter({
    name: 'dslora_credential_reloads_total',
    help: 'Keys (api_keys) or certificates (tls) that were read again, and taken or refused.',
    labelNames: ['what', 'outcome'],
    registers,
  });
  const spans = new Counter({
    name: 'dslora_trace_spans_total',
    help: 'Spans of traces that were sent to OTEL_EXPORTER_OTLP_ENDPOINT, or could not be.',
    labelNames: ['outcome'],
    registers,
  });
  new Counter({
    name: 'dslora_log_lines_lost_total',
    help: 'Lines of the log that standard output did not take, whole or in part.',
    registers,
    collect() {
      this.reset();
      this.inc(output.lost);
    },
  });
  const late = new Counter({
    name: 'dslora_late_texts_total',
    help: 'Texts that were given up because of their deadline.',
    labelNames: ['model'],
    registers,
  });
  const answers = new Counter({
    name: 'dslora_answers_total',
    help: 'Texts by where their answer comes from: computed, shared with an equal text in flight, or cached.',
    labelNames: ['model', 'source'],
    registers,
  });
  const quarantined = new Counter({
    name: 'dslora_quarantined_total',
    help: 'Texts that ended two processes and are refused for some minutes.',
    labelNames: ['model'],
    registers,
  });
  const workerExits = new Counter({
    name: 'dslora_worker_exits_total',
    help: 'Worker processes that ended, and whether they were told to.',
    labelNames: ['role', 'expected'],
    registers,
  });

  const bundles = new Counter({
    name: 'dslora_bundles_total',
    help: 'Bundles by what became of them when models were loaded, reloaded or unloaded.',
    labelNames: ['outcome'],
    registers,
  });
  const reloadSeconds = histogram('reload_seconds', 'Time to bring what is served up to date.', RELOAD_SECONDS, []);
  const unloadable = new Counter({
    name: 'dslora_worker_load_failures_total',
    help: 'Served models that a restarted worker could not load again.',
    labelNames: ['model'],
    registers,
  });
  const shadowTexts = new Counter({
    name: 'dslora_shadow_texts_total',
    help: 'Texts that a shadow was to classify too, by what became of them.',
    labelNames: [...SHADOW_LABELS, 'outcome'],
    registers,
  });
  const shadowFlips = new Counter({
    name: 'dslora_shadow_flips_total',
    help: 'Compared texts with another most probable class (label), or flagged by one only (flag).',
    labelNames: [...SHADOW_LABELS, 'kind'],
    registers,
  });
  const shadowDifference = histogram(
    'shadow_difference',
    'Mean absolute difference of two answers to one text, over labels or gates.',
    DIFFERENCES,
    [...SHADOW_LABELS, 'of'],
  );

  // An alert sees a rise only where there was a number before.
  for (const outcome of ['loaded', 'unchanged', 'unloaded', 'kept', 'refused']) bundles.inc({ outcome }, 0);
  for (const what of ['api_keys', 'tls'])
    for (const outcome of ['taken', 'refused']) credentialReloads.inc({ what, outcome }, 0);
  for (const role of ['inference', 'tokenizer'])
    for (const expected of ['true', 'false']) workerExits.inc({ role, expected }, 0);
  const ofModels = [late, quarantined, unloadable];

  function shadowed({ model, shadow, outcome, divergence }: ShadowEvent): void {
    const pair = {
      model: model.name,
      version: model.version,
      shadow: shadow.name,
      shadow_version: shadow.version,
    };
    shadowTexts.inc({ ...pair, outcome });
    if (divergence === undefined) return;
    if (divergence.labelFlip !== undefined) shadowFlips.inc({ ...pair, kind: 'label' }, Number(divergence.labelFlip));
    shadowFlips.inc({ ...pair, kind: 'flag' }, Number(divergence.flagFlip));
    const { probabilities, gates } = divergence;
    if (probabilities !== undefined) shadowDifference.observe({ ...pair, of: 'probabilities' }, probabilities);
    if (gates !== undefined) shadowDifference.observe({ ...pair, of: 'gates' }, gates);
  }

  return {
    contentType: registry.contentType,
    observer: {
      tokenized: ({ model, seconds }) => tokenizeSeconds.observe({ model }, seconds),
      queued: ({ model, seconds }) => queueSeconds.observe({ model }, seconds),
      batch({ model, windows, tokens, paddedTokens: padded, seconds }) {
        inferenceSeconds.observe({ model }, seconds);
        batchWindows.observe({ model }, windows);
        batchTokens.observe({ model }, tokens);
        paddedTokens.inc({ model }, padded);
        paddingShare.observe({ model }, 1 - tokens / padded);
      },
      depth(_windows, byPriority) {
        queueDepth.set(INTERACTIVE, byPriority.interactive);
        queueDepth.set(BULK, byPriority.bulk);
      },
      refused: (event) => refused.inc(event),
      late: ({ model, texts }) => late.inc({ model }, texts),
      answered: (event) => answers.inc(event),
      quarantined: ({ model }) => quarantined.inc({ model }),
      bundle({ outcome, name }) {
        bundles.inc({ outcome });
        if (outcome === 'loaded' && name !== undefined) for (const one of ofModels) one.inc({ model: name }, 0);
      },
      reloaded: ({ seconds }) => reloadSeconds.observe(seconds),
      unloadable: ({ name }) => unloadable.inc({ model: name }),
      shadowed,
      workerExited: ({ role, expected }) => workerExits.inc({ role, expected: String(expected) }),
    },
    requested(route, status, seconds, traceId) {
      const labels = { route, status };
      if (!exemplars) requestSeconds.observe(labels, seconds);
      else if (traceId === undefined) requestSeconds.observe({ labels, value: seconds });
      else requestSeconds.observe({ labels, value: seconds, exemplarLabels: { trace_id: traceId } });
    },
    scored: (model, result) => drift?.observe(model, result),
    decided: (policy, decision) => decisions.inc({ policy, decision }),
    classified(model, label, layerMeans) {
      predictions.inc({ model, label });
      for (const [layer, mean] of layerMeans) gateActivation.observe({ model, layer }, mean);
    },
    rateLimited: (limit) => rateLimited.inc({ limit }),
    credentials: (what, outcome) => credentialReloads.inc({ what, outcome }),
    spans: (outcome, count) => spans.inc({ outcome }, count),
    watch(engine) {
      registry.registerMetric(modelInfo(engine));
      registry.registerMetric(repositoryBundles(engine));
      if (drift !== undefined) for (const metric of driftMetrics(drift, engine)) registry.registerMetric(metric);
    },
    expose: () => registry.metrics(),
    registered: () =>
      (registry.getMetricsAsArray() as unknown as (Omit<RegisteredMetric, 'labels'> & { labelNames: string[] })[]).map(
        ({ name, type, help, labelNames }) => ({ name, type, help, labels: labelNames }),
      ),
  };
}
