/** Errors in the shape of text-embeddings-inference: {error, error_type}. */
import { Type } from 'typebox';

import { PROBLEMS, type ProblemCode } from '../../problems.ts';
import { type ErrorShape, messageOf } from '../errors.ts';

const ERROR_TYPES = ['Unhealthy', 'Backend', 'Overloaded', 'Validation', 'Tokenizer', 'Empty'] as const;
type ErrorType = (typeof ERROR_TYPES)[number];

/** Status and type where TEI has a word for it. What is not here is a `Validation` error with our own status. */
const ERRORS: Partial<Record<ProblemCode, readonly [status: number, type: ErrorType]>> = {
  invalid_body: [422, 'Validation'],
  too_many_texts: [422, 'Validation'],
  text_too_long: [422, 'Validation'],
  no_texts: [400, 'Empty'],
  empty_after_normalization: [400, 'Empty'],
  invalid_unicode: [422, 'Tokenizer'],
  overloaded: [429, 'Overloaded'],
  rate_limited: [429, 'Overloaded'],
  inference_failed: [424, 'Backend'],
  deadline_exceeded: [424, 'Backend'],
  internal_error: [500, 'Backend'],
  not_ready: [503, 'Unhealthy'],
  shutting_down: [503, 'Unhealthy'],
};

export const teiError: ErrorShape = (problem) => {
  const [status, type] = ERRORS[problem.code] ?? [PROBLEMS[problem.code].status, 'Validation' as const];
  return { status, body: { error: messageOf(problem), error_type: type } };
};

export const TeiErrorSchema = Type.Object(
  { error: Type.String(), error_type: Type.Enum([...ERROR_TYPES]) },
  { $id: 'TeiError', description: 'An error of text-embeddings-inference' },
);
