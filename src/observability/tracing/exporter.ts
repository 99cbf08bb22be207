/** Sends spans by OTLP over HTTP, and tells what became of them: the SDK itself loses them without a word. */
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace-base';

export type SpansOutcome = 'sent' | 'failed';

/** @param told of each batch; of the OTEL_ variables the library reads those of the exporter itself */
export function createExporter(told: (outcome: SpansOutcome, spans: number) => void): SpanExporter {
  const exporter = new OTLPTraceExporter();
  return {
    export(spans: ReadableSpan[], done) {
      exporter.export(spans, (result) => {
        told(result.code === 0 ? 'sent' : 'failed', spans.length);
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush(),
  };
}
