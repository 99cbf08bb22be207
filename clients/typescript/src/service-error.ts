/** An answer that is an error. */
import type { components } from './openapi.ts';
import { retryAfterMs } from './retry.ts';

/** RFC 9457 problem document; programs look at `code`, which is stable. */
export type Problem = components['schemas']['Problem'];

export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  readonly status: number;
  /** What the service says; undefined when something in between answered. */
  readonly problem: Problem | undefined;
  /** Milliseconds after which the service asked to be tried again. */
  readonly retryAfterMs: number | undefined;

  constructor(response: Response, body: unknown) {
    const problem = isProblem(body) ? body : undefined;
    super(problem?.detail ?? problem?.title ?? `The answer was status ${response.status}, and no problem document`);
    this.status = response.status;
    this.problem = problem;
    this.retryAfterMs = retryAfterMs(response.headers, Date.now());
  }
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body && typeof body.code === 'string';
}
