/** What an error of moderation, or of the engine below it, means to a client of the native API. */
import { ModerationError } from '../moderation/types.ts';
import { engineProblem } from './engine-problem.ts';
import { Problem } from './problems.ts';

/** @returns a Problem for an error of moderation or the engine, any other error as it is */
export function moderationProblem(error: unknown, pointTo: (index: number) => string): unknown {
  if (!(error instanceof ModerationError)) return engineProblem(error, pointTo);
  // Its message names policies and labels of the operator's own files, and nothing that a client sent.
  return new Problem(error.code, { pointer: '/policy', detail: `${error.message}.` });
}
