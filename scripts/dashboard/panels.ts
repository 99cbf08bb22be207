/** What the dashboard shows: rows of panels, each with its question and its queries. */

export interface Panel {
  readonly title: string;
  /** What the reader learns from it, and what is normal. */
  readonly description: string;
  /** Of Grafana: `s`, `percentunit`, `reqps`, `bytes`, `short`. */
  readonly unit: string;
  /** Legend -> PromQL. */
  readonly queries: Readonly<Record<string, string>>;
  /** One number instead of curves. */
  readonly stat?: true;
  /** Values from which the panel turns amber and red. */
  readonly thresholds?: readonly [amber: number, red: number];
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** As in alerts.yml: neither probes, scrapes, documentation, administration nor unknown addresses. */
const SERVED = 'job="dslora",route!~"/health.*|/v2/health.*|/ping|/metrics|/docs.*|/ui.*|/admin.*|unmatched"';
const MODEL = 'job="dslora",model=~"$model"';
const PROCESS = 'job="dslora"';
const RATE = '[$__rate_interval]';
const REQUESTS = 'dslora_http_request_duration_seconds';

const rate = (metric: string, labels: string) => `rate(${metric}{${labels}}${RATE})`;
const quantile = (q: number, metric: string, labels: string) =>
  `histogram_quantile(${q}, sum by (le) (${rate(`${metric}_bucket`, labels)}))`;
const quantiles = (metric: string, labels: string) => ({
  p50: quantile(0.5, metric, labels),
  p99: quantile(0.99, metric, labels),
});
const mean = (metric: string, labels: string, by: string) =>
  `sum by (${by}) (${rate(`${metric}_sum`, labels)}) / sum by (${by}) (${rate(`${metric}_count`, labels)})`;

export const ROWS: readonly Row[] = [
  {
    title: 'Service levels',
    panels: [
      {
        title: 'Available, last hour',
        description: 'Share of requests without a status of 5xx. The level is 99.9 % over 30 days.',
        unit: 'percentunit',
        stat: true,
        queries: { available: '1 - max(dslora:request_errors:ratio_rate1h)' },
      },
      {
        title: 'Within 0.5 s, last hour',
        description: 'Share of successful answers within 0.5 s. The level is 99 % over 30 days.',
        unit: 'percentunit',
        stat: true,
        queries: { fast: '1 - max(dslora:request_slow:ratio_rate1h)' },
      },
      {
        title: 'Speed at which the error budgets are used up',
        description:
          'At 1 a budget lasts exactly 30 days. Alerts: 14.4 over an hour, 6 over six, 3 over a day, 1 over three.',
        unit: 'short',
        queries: {
          'availability, 1 h': 'max(dslora:request_errors:ratio_rate1h) / 0.001',
          'availability, 6 h': 'max(dslora:request_errors:ratio_rate6h) / 0.001',
          'latency, 1 h': 'max(dslora:request_slow:ratio_rate1h) / 0.01',
          'latency, 6 h': 'max(dslora:request_slow:ratio_rate6h) / 0.01',
        },
      },
      {
        title: 'Processes that answer',
        description: 'Targets of Prometheus that can be scraped.',
        unit: 'short',
        stat: true,
        queries: { up: `sum(up{${PROCESS}})` },
      },
    ],
  },
  {
    title: 'Traffic',
    panels: [
      {
        title: 'Requests by status',
        description: '429 is a refusal under load, 499 a client that did not wait, 5xx uses up the error budget.',
        unit: 'reqps',
        queries: { '{{status}}': `sum by (status) (${rate(`${REQUESTS}_count`, SERVED)})` },
      },
      {
        title: 'Requests by route',
        description: 'Which protocols are spoken.',
        unit: 'reqps',
        queries: { '{{route}}': `sum by (route) (${rate(`${REQUESTS}_count`, SERVED)})` },
      },
      {
        title: 'Time from request to answer',
        description: 'Of successful requests, whatever their number of texts.',
        unit: 's',
        thresholds: [0.25, 0.5],
        queries: quantiles(REQUESTS, `${SERVED},status=~"2.."`),
      },
      {
        title: 'Texts by where their answer comes from',
        description: 'Computed, shared with an equal text in flight, or kept (CACHE_BYTES).',
        unit: 'short',
        queries: { '{{source}}': `sum by (source) (${rate('dslora_answers_total', MODEL)})` },
      },
      {
        title: 'Refused requests by bound',
        description: 'Which bound of the queue was reached. Without load there are none.',
        unit: 'reqps',
        queries: {
          '{{priority}}, {{reason}}': `sum by (priority, reason) (${rate('dslora_refused_total', MODEL)})`,
        },
      },
      {
        title: 'Texts given up at their deadline',
        description: 'Their requests allowed less time than the queue needed.',
        unit: 'short',
        queries: { '{{model}}': `sum by (model) (${rate('dslora_late_texts_total', MODEL)})` },
      },
    ],
  },
  {
    title: 'Work',
    panels: [
      {
        title: 'Windows that wait',
        description: 'Empty most of the time while there is room. Never empty: every worker is always busy.',
        unit: 'short',
        queries: { '{{priority}}': `sum by (priority) (dslora_queue_windows{${PROCESS}})` },
      },
      {
        title: 'Wait for a worker',
        description: 'Refusals begin where QUEUE_WAIT_MS is foretold. Bulk work is among it.',
        unit: 's',
        thresholds: [0.1, 0.25],
        queries: quantiles('dslora_queue_wait_seconds', MODEL),
      },
      {
        title: 'Time to tokenise a request',
        description: 'Grows with long texts, and with many in a request.',
        unit: 's',
        queries: quantiles('dslora_tokenize_seconds', MODEL),
      },
      {
        title: 'Time of the graph on a batch',
        description: 'When it rises at the same batches, the machine is slower or shared.',
        unit: 's',
        queries: quantiles('dslora_inference_seconds', MODEL),
      },
      {
        title: 'Windows in a batch',
        description: 'About one without load; full batches mean saturation.',
        unit: 'short',
        queries: { '{{model}}': mean('dslora_batch_windows', MODEL, 'model') },
      },
      {
        title: 'Tokens a second, and padding among them',
        description: 'What the workers did. Padding is work for nothing.',
        unit: 'short',
        queries: {
          tokens: `sum(${rate('dslora_batch_tokens_sum', MODEL)})`,
          'with padding': `sum(${rate('dslora_padded_tokens_total', MODEL)})`,
        },
      },
    ],
  },
  {
    title: 'Models',
    panels: [
      {
        title: 'Drift of probabilities',
        description:
          'Population stability index against the development split. Under 0.1 nothing, over 0.25 other texts than those that thresholds were chosen on. Absent below DRIFT_MIN_TEXTS texts.',
        unit: 'short',
        thresholds: [0.1, 0.25],
        queries: {
          '{{model}}@{{version}} {{label}}': `max by (model, version, label) (dslora_drift_probability_psi{${MODEL}})`,
        },
      },
      {
        title: 'Drift of gates by layer',
        description:
          'The same for the gates, averaged over the modules of a layer: the first sign of texts unlike those of development. They move more than scores: alerts begin where the mean over layers is 0.5.',
        unit: 'short',
        thresholds: [0.25, 0.5],
        queries: {
          '{{model}}@{{version}} layer {{layer}}': `max by (model, version, layer) (dslora_drift_gate_psi{${MODEL}})`,
        },
      },
      {
        title: 'Texts that drift is measured on',
        description: 'The last DRIFT_WINDOW_TEXTS of the last DRIFT_WINDOW_MINUTES.',
        unit: 'short',
        queries: { '{{model}}@{{version}}': `sum by (model, version) (dslora_drift_texts{${MODEL}})` },
      },
      {
        title: 'Texts by class',
        description: 'Most probable class.',
        unit: 'short',
        queries: { '{{model}} {{label}}': `sum by (model, label) (${rate('dslora_predictions_total', MODEL)})` },
      },
      {
        title: 'Decisions by policy',
        description: 'What policies made of the scores.',
        unit: 'short',
        queries: {
          '{{policy}} {{decision}}': `sum by (policy, decision) (${rate('dslora_decisions_total', PROCESS)})`,
        },
      },
      {
        title: 'Mean gate by layer',
        description: 'How strongly the adapter of each layer stepped in.',
        unit: 'percentunit',
        queries: { '{{model}} layer {{layer}}': mean('dslora_gate_activation_ratio', MODEL, 'model, layer') },
      },
      {
        title: 'Served models',
        description: 'Processes that serve each version.',
        unit: 'short',
        queries: {
          '{{model}}@{{version}} {{precision}}': `sum by (model, version, precision) (dslora_model_info{${MODEL}})`,
        },
      },
      {
        title: 'Bundles that do not serve',
        description: 'Refused, or unloaded by request; `GET /models` says why.',
        unit: 'short',
        stat: true,
        thresholds: [1, 1],
        queries: { unavailable: `max(dslora_repository_bundles{${PROCESS},state="unavailable"})` },
      },
    ],
  },
  {
    title: 'Processes',
    panels: [
      {
        title: 'Delay of the event loop',
        description: 'The main process keeps the books of all requests: its delay is in every answer.',
        unit: 's',
        thresholds: [0.05, 0.1],
        queries: {
          p50: `max(nodejs_eventloop_lag_p50_seconds{${PROCESS}})`,
          p99: `max(nodejs_eventloop_lag_p99_seconds{${PROCESS}})`,
        },
      },
      {
        title: 'Processor time of the main process',
        description: 'Near 1 it is the bottleneck: add processes of the service, not workers. Workers are not in it.',
        unit: 'percentunit',
        queries: { '{{instance}}': `rate(process_cpu_seconds_total{${PROCESS}}${RATE})` },
      },
      {
        title: 'Memory of the main process',
        description: 'Workers are not in it. A rise without end is a leak.',
        unit: 'bytes',
        queries: {
          resident: `max(process_resident_memory_bytes{${PROCESS}})`,
          'heap used': `max(nodejs_heap_size_used_bytes{${PROCESS}})`,
        },
      },
      {
        title: 'Worker processes that died, last 15 minutes',
        description: 'Unexpected ends only; one is answered by running its batch again.',
        unit: 'short',
        thresholds: [1, 3],
        queries: {
          '{{role}}': `sum by (role) (increase(dslora_worker_exits_total{${PROCESS},expected="false"}[15m]))`,
        },
      },
      {
        title: 'Quarantined texts, last hour',
        description: 'Texts that ended two processes each.',
        unit: 'short',
        stat: true,
        thresholds: [1, 1],
        queries: { texts: `sum(increase(dslora_quarantined_total{${PROCESS}}[1h]))` },
      },
      {
        title: 'Open connections and files',
        description: 'Near the limit new connections fail.',
        unit: 'short',
        queries: {
          open: `max(process_open_fds{${PROCESS}})`,
          limit: `max(process_max_fds{${PROCESS}})`,
        },
      },
    ],
  },
];
