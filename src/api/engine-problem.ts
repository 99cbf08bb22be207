/** What an error of the engine means to a client of the native API. */
import { EngineError } from '../engine/types.ts';
import { Problem } from './problems.ts';

/** `Retry-After` in seconds: whole ones, at least one. */
function retryAfter(error: EngineError): string {
  return String(Math.max(1, Math.ceil((error.retryAfterMs ?? 1_000) / 1_000)));
}

/**
 * The engine's message stays behind: what a detail may say is the API's promise.
 *
 * @param pointTo the JSON Pointer of the text with that index
 * @returns a Problem for an EngineError, any other error as it is
 */
export function engineProblem(error: EngineError, pointTo: (index: number) => string): Problem;
export function engineProblem(error: unknown, pointTo: (index: number) => string): unknown;
export function engineProblem(error: unknown, pointTo: (index: number) => string): unknown {
  if (!(error instanceof EngineError)) return error;
  return new Problem(error.code, {
    ...(error.index === undefined ? {} : { pointer: pointTo(error.index) }),
    ...(error.code === 'overloaded' ? { headers: { 'retry-after': retryAfter(error) } } : {}),
  });
}
