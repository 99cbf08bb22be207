/** Errors in the shape of the Open Inference Protocol: {error}. */
import { Type } from 'typebox';

import { PROBLEMS } from '../../problems.ts';
import { type ErrorShape, messageOf } from '../errors.ts';

/** Where Triton's status is another than ours: it knows no 422, and a full queue is unavailable. */
const STATUSES: Readonly<Record<number, number>> = { 422: 400, 429: 503 };

export const kserveError: ErrorShape = (problem) => {
  const { status } = PROBLEMS[problem.code];
  // The queue is not what is full when a client is over its own limit.
  return {
    status: problem.code === 'rate_limited' ? status : (STATUSES[status] ?? status),
    body: { error: messageOf(problem) },
  };
};

export const KserveErrorSchema = Type.Object(
  { error: Type.String() },
  { $id: 'KserveError', description: 'An error of the Open Inference Protocol' },
);
