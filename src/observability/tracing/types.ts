/** What tracing offers to the rest of the service. Without it nothing of OpenTelemetry is loaded. */
import type { FastifyRequest } from 'fastify';

import type { EngineObserver } from '../../engine/types.ts';
import type { TraceParent } from '../trace-context.ts';

/** How a request ended. Names and numbers only, never what a client wrote. */
export interface RequestEnd {
  readonly route: string;
  readonly status: number;
  readonly model?: string | undefined;
  readonly texts?: number | undefined;
  /** Code of the problem, where the answer is one. */
  readonly code?: string | undefined;
}

/** One request's part of its trace. */
export interface RequestTrace {
  readonly context: TraceParent;
  end(end: RequestEnd): void;
}

export interface Tracing {
  /** Begins the span of a request, under the caller's where there is one. */
  begin(request: Pick<FastifyRequest, 'id' | 'method' | 'headers' | 'routeOptions'>): RequestTrace;
  /** What `work` starts belongs to the request. */
  within(trace: RequestTrace, work: () => void): void;
  /** @returns an observer that passes everything on and makes spans of the stages of each request */
  observe(observer: EngineObserver): EngineObserver;
  /** Sends what is left. */
  close(): Promise<void>;
}
