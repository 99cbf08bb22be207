/**
 * Spans of OpenTelemetry: one for a request, and below it admission, tokenize, queue and run as the engine saw them.
 * Attributes are names, numbers and codes. Imported only where traces are exported.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { context, type Span, SpanKind, SpanStatusCode, TraceFlags, type Tracer, trace } from '@opentelemetry/api';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { FastifyBaseLogger } from 'fastify';

import type { EngineObserver, RequestStages } from '../../engine/types.ts';
import { parseTraceParent, type TraceParent } from '../trace-context.ts';
import { createExporter, type SpansOutcome } from './exporter.ts';
import type { RequestTrace, Tracing } from './types.ts';

export interface TracingOptions {
  /** Of the service. */
  readonly version: string;
  readonly logger: FastifyBaseLogger;
  /** Told of each batch of spans that was exported, or not. */
  readonly exported: (outcome: SpansOutcome, spans: number) => void;
}

/** For what is left at the end. */
const FLUSH_MS = 3_000;
/** Where a resource or OTEL_SERVICE_NAME says nothing else. */
const SERVICE_NAME = 'dslora';

export function startTracing({ version, logger, exported }: TracingOptions): Tracing {
  let failing = false;
  const exporter = createExporter((outcome, spans) => {
    exported(outcome, spans);
    const fails = outcome === 'failed';
    if (fails !== failing) logger.warn(fails ? 'traces cannot be exported' : 'traces are exported again');
    failing = fails;
  });
  const provider = new BasicTracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ 'service.name': SERVICE_NAME, 'service.version': version }))
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  });
  const tracer = provider.getTracer('dslora', version);
  const current = new AsyncLocalStorage<Span>();
  const spans = new WeakMap<RequestTrace, Span>();

  return {
    begin({ id, method, headers, routeOptions }) {
      const parent = parseTraceParent(headers.traceparent);
      const span = tracer.startSpan(
        `${method} ${routeOptions.url ?? 'unmatched'}`,
        { kind: SpanKind.SERVER, attributes: { 'http.request.method': method, 'dslora.request_id': id } },
        parent === undefined ? context.active() : remote(parent),
      );
      const { traceId, spanId, traceFlags } = span.spanContext();
      const begun: RequestTrace = {
        context: { traceId, spanId, sampled: (traceFlags & TraceFlags.SAMPLED) !== 0 },
        end({ route, status, model, texts, code }) {
          span.setAttributes({
            'http.route': route,
            'http.response.status_code': status,
            ...(model === undefined ? {} : { 'dslora.model': model }),
            ...(texts === undefined ? {} : { 'dslora.texts': texts }),
            ...(code === undefined ? {} : { 'error.type': code }),
          });
          if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
          span.end();
        },
      };
      spans.set(begun, span);
      return begun;
    },
    within(begun, work) {
      current.run(spans.get(begun) as Span, work);
    },
    observe: (observer) => observeStages(observer, tracer, () => current.getStore()),
    async close() {
      // What could not be sent was told already, and the end must not wait for a collector that is gone.
      const flushed = provider.shutdown().catch(() => {});
      await Promise.race([flushed, wait(FLUSH_MS, undefined, { ref: false })]);
    },
  };
}

/** The caller's state (`tracestate`) is left aside: it may hold anything, and nobody is called who would read it. */
function remote({ traceId, spanId, sampled }: TraceParent) {
  const traceFlags = sampled ? TraceFlags.SAMPLED : TraceFlags.NONE;
  return trace.setSpanContext(context.active(), { traceId, spanId, traceFlags, isRemote: true });
}

function observeStages(observer: EngineObserver, tracer: Tracer, parent: () => Span | undefined): EngineObserver {
  return {
    ...observer,
    refused(event) {
      observer.refused?.(event);
      parent()?.addEvent('refused', { 'dslora.model': event.model, 'dslora.reason': event.reason });
    },
    asked(event) {
      const also = observer.asked?.(event);
      const span = parent();
      if (span === undefined || !span.isRecording()) return also;
      return (stages) => {
        also?.(stages);
        addStages(tracer, span, stages, { 'dslora.model': event.model, 'dslora.texts': event.texts });
      };
    },
  };
}

/** Stages of a request with several texts overlap: the last text waits while the first one runs. */
function addStages(tracer: Tracer, parent: Span, stages: RequestStages, attributes: Record<string, string | number>) {
  const below = trace.setSpan(context.active(), parent);
  const { begunMs, admittedMs, tokenizedMs, queuedMs, ranMs, endedMs, timing } = stages;
  const add = (name: string, from: number, until: number, own: Record<string, number> = {}) =>
    tracer
      .startSpan(name, { startTime: timeOf(from), attributes: { ...attributes, ...own } }, below)
      .end(timeOf(until));
  add('admission', begunMs, admittedMs);
  add('tokenize', admittedMs, tokenizedMs ?? endedMs, { 'dslora.work_ms': timing.tokenizeMs });
  if (tokenizedMs === undefined) return;
  add('queue', tokenizedMs, queuedMs ?? endedMs, { 'dslora.longest_wait_ms': timing.queueMs });
  if (ranMs !== undefined) add('run', ranMs, endedMs, { 'dslora.work_ms': timing.inferenceMs });
}

/** @param ms comparable with `performance.now()` @returns milliseconds since 1970 */
const timeOf = (ms: number) => performance.timeOrigin + ms;
