/** What to do when a metric moves: docs/metrics.md is made of this and of the metrics themselves. */

/** A metric of Node or of the operating system that prom-client measures by itself: looked at together. */
const PROCESS = 'Of the main process only: workers are processes of their own.';

export const ADVICE: Readonly<Record<string, string>> = {
  dslora_http_request_duration_seconds:
    'The service levels. 5xx and slow answers: [burn rates](runbooks.md#dsloraavailabilityburnfast). 429: `dslora_refused_total`, `dslora_rate_limited_total`. 499: clients give up; is their time shorter than the answers are slow? `unmatched`: somebody looks for what is not there.',
  dslora_queue_wait_seconds:
    'Rises first when there is too much to do. Add processes of the service, or ask clients for `bulk`. Bulk work is among it.',
  dslora_tokenize_seconds: 'Rises with long texts and large requests. Alone it is no cause for worry.',
  dslora_inference_seconds:
    'Rises at equal `dslora_batch_tokens`: the machine is slower or shared, or THREADS × WORKERS is more than its cores.',
  dslora_batch_windows: 'About 1 without load. Near BATCH_WINDOWS or BATCH_TOKENS: saturated.',
  dslora_batch_tokens: 'The same in tokens; its sum a second is the throughput.',
  dslora_batch_padding_ratio:
    'Work for nothing. Above 0.3: lower BATCH_TOKENS, or texts are of very different lengths.',
  dslora_padded_tokens_total: 'Throughput with padding. Compare with `npm run bench` to know what is left.',
  dslora_gate_activation_ratio: 'Look at `dslora_drift_gate_psi` instead of judging by eye.',
  dslora_predictions_total: 'Another mix of classes: other texts (drift), or another model (`dslora_model_info`)?',
  dslora_decisions_total: 'More `review` is more work for people. Did a policy, a model or the texts change?',
  dslora_queue_windows:
    'Never 0 for minutes: [saturated](runbooks.md#dsloraqueueneverempty). Rises: [act](runbooks.md#dsloraqueuegrowing).',
  dslora_refused_total: '[Runbook](runbooks.md#dslorarefusing).',
  dslora_late_texts_total: '[Runbook](runbooks.md#dsloralatetexts).',
  dslora_answers_total: 'Many `shared`: clients send the same text at once. Many texts that come again: CACHE_BYTES.',
  dslora_quarantined_total: '[Runbook](runbooks.md#dsloraquarantine).',
  dslora_worker_exits_total:
    '`expected="false"`: [runbook](runbooks.md#dsloraworkerrestarts). `true` rises with each reload.',
  dslora_worker_load_failures_total: '[Runbook](runbooks.md#dsloraworkercannotload).',
  dslora_bundles_total:
    '`refused`: [runbook](runbooks.md#dsloramodelrefused). `kept`: a folder is gone that a setting needs.',
  dslora_repository_bundles:
    '`ready` 0: [runbook](runbooks.md#dsloranomodel). `unavailable`: [runbook](runbooks.md#dsloramodelrefused).',
  dslora_reload_seconds: 'Longer than before: a larger model, or a slow volume. Answers do not wait for it.',
  dslora_model_info: 'What serves where. Two versions over processes for long: a rollout that stands still.',
  dslora_shadow_texts_total:
    'Many `dropped`: no time under load; raise the share at night. `failed`: look at the log of the new model.',
  dslora_shadow_flips_total: 'The share of texts that a switch would answer otherwise. Look at them before switching.',
  dslora_shadow_difference: 'How far the two versions are apart in numbers.',
  dslora_drift_probability_psi:
    'Above 0.25: [runbook](runbooks.md#dsloraprobabilitydrift). How to read it: [drift](drift.md).',
  dslora_drift_gate_psi: 'Mean over layers above 0.5: [runbook](runbooks.md#dsloragatedrift).',
  dslora_drift_tokens_psi: 'Texts are longer or shorter than in development; explains gates that move alone.',
  dslora_drift_texts: 'Below DRIFT_MIN_TEXTS there are no indexes. Falls to 0 without traffic.',
  dslora_rate_limited_total: 'One client over its limit: it is told when to come back. Many: the limit is too low.',
  dslora_credential_reloads_total: '`refused`: [runbook](runbooks.md#dsloracredentialsrefused).',
  dslora_trace_spans_total: '`failed`: the collector cannot be reached. Answers do not depend on it.',
  dslora_log_lines_lost_total: '[Runbook](runbooks.md#dsloraloglost). Answers do not depend on it.',
  process_cpu_user_seconds_total: `${PROCESS} Near one core together with system time: add processes of the service.`,
  process_cpu_system_seconds_total: `${PROCESS} High against user time: very many small requests or connections.`,
  process_cpu_seconds_total: `${PROCESS} A rate near 1 is its limit, since it is one thread.`,
  process_start_time_seconds: 'Changes: the process was restarted. Who did that?',
  process_resident_memory_bytes: `${PROCESS} Rises without end: a leak; take a heap snapshot before restarting.`,
  process_virtual_memory_bytes: 'Says little: address space, not memory.',
  process_heap_bytes: 'Says little: data segment of the process.',
  process_open_fds: 'Connections and held files. Rises without end: clients that never close, or a leak.',
  process_max_fds: 'Connections fail before it is reached: raise the limit (`ulimit -n`).',
  nodejs_eventloop_lag_seconds: 'At the moment of the scrape; look at the percentiles.',
  nodejs_eventloop_lag_min_seconds: 'Its timer has a resolution of about 10 ms: that much is no delay.',
  nodejs_eventloop_lag_max_seconds:
    'One long step. Once: start or reload. Again and again: [runbook](runbooks.md#dsloraeventloopslow).',
  nodejs_eventloop_lag_mean_seconds: 'As the percentiles.',
  nodejs_eventloop_lag_stddev_seconds: 'As the percentiles.',
  nodejs_eventloop_lag_p50_seconds: 'About 0.01 when idle, by its timer. Above: always busy.',
  nodejs_eventloop_lag_p90_seconds: 'As the 99th.',
  nodejs_eventloop_lag_p99_seconds: 'Above 0.1 s: [runbook](runbooks.md#dsloraeventloopslow).',
  nodejs_active_handles: 'Sockets, timers and pipes by type. Rises without end: connections that nobody closes.',
  nodejs_active_requests: 'Work at the operating system. Stands still: a volume that does not answer.',
  nodejs_active_resources: 'As handles, with what keeps the process alive.',
  nodejs_heap_size_total_bytes: 'What the engine has set aside. Follows the next.',
  nodejs_heap_size_used_bytes: 'A saw-tooth. Its lower edge rises without end: a leak.',
  nodejs_external_memory_bytes: 'Buffers: bodies of requests in hand. High: many large ones; BODY_LIMIT_BYTES.',
  nodejs_heap_space_size_total_bytes: 'By kind of memory; for who looks for a leak.',
  nodejs_heap_space_size_used_bytes: 'As above.',
  nodejs_heap_space_size_available_bytes: 'As above.',
  nodejs_version_info: 'Changes with the image.',
  nodejs_gc_duration_seconds: 'Many `major` ones: the heap is near its limit.',
};
