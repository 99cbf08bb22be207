/** Turns whatever was thrown into a problem document. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';

import { PROBLEM_MEDIA_TYPE, PROBLEMS, Problem, type ProblemCode, problemDocument } from './problems.ts';

/** Fastify's own errors that a client can cause. */
const FROM_FASTIFY: Readonly<Record<string, ProblemCode>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_INVALID_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_EMPTY_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'bad_request',
  FST_ERR_BAD_URL: 'bad_request',
  // Longer than any name that a path can hold.
  FST_ERR_MAX_PARAM_LENGTH: 'not_found',
  // Of the files of /docs: a way out of their folder, or a zero byte.
  FST_STATIC_FORBIDDEN_PATH: 'not_found',
  FST_STATIC_INVALID_REDIRECT_URL: 'not_found',
};

/** @returns the problem that an error means to a client; `internal_error` for what no client can cause */
function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const code = FROM_FASTIFY[(error as Partial<FastifyError> | null)?.code ?? ''];
  return new Problem(code ?? 'internal_error');
}

/** The same, and leaves its code to the request's log line. What nobody foresaw is logged whole. */
export function noteProblem(error: unknown, request: FastifyRequest): Problem {
  const problem = toProblem(error);
  if (problem.code === 'internal_error') request.log.error({ err: error }, 'unexpected error');
  // An address that cannot be read fails before any hook has run.
  request.outcome = { ...request.outcome, code: problem.code };
  return problem;
}

export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = noteProblem(error, request);
  return reply
    .code(PROBLEMS[problem.code].status)
    .headers(problem.details.headers ?? {})
    .type(PROBLEM_MEDIA_TYPE)
    .send(problemDocument(problem, request.id));
}
