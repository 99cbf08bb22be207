/** Errors in the shape of Google's APIs: {error: {code, message, status, details}}. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { FastifySchemaValidationError } from 'fastify/types/schema.js';
import { Type } from 'typebox';

import { problemOf } from '../../error-handler.ts';
import { PROBLEMS, type Problem, type ProblemCode } from '../../problems.ts';

/** Canonical status -> HTTP status. */
export const STATUSES = {
  INVALID_ARGUMENT: 400,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  RESOURCE_EXHAUSTED: 429,
  INTERNAL: 500,
  UNIMPLEMENTED: 501,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
} as const;

type Status = keyof typeof STATUSES;

/** Perspective's own kinds of bad request. */
type ErrorType =
  | 'COMMENT_EMPTY'
  | 'COMMENT_TOO_LONG'
  | 'NO_REQUESTED_ATTRIBUTES'
  | 'LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE'
  | 'INVALID_REQUEST';

type Detail = Readonly<Record<string, unknown>>;

export const GoogleErrorSchema = Type.Object(
  {
    error: Type.Object(
      {
        code: Type.Integer({ description: 'The HTTP status' }),
        message: Type.String(),
        status: Type.Enum(Object.keys(STATUSES) as Status[]),
        details: Type.Optional(
          Type.Array(Type.Object({ '@type': Type.String() }, { description: 'Perspective names its `errorType` here' })),
        ),
      },
      { additionalProperties: false },
    ),
  },
  { $id: 'GoogleError', additionalProperties: false, description: 'Error of a Google API' },
);

/** An answer that is an error. Its message never repeats what a text says. */
export class GoogleError extends Error {
  override readonly name = 'GoogleError';
  readonly status: Status;
  readonly details: readonly Detail[];
  /** For the log. */
  readonly kind: string;

  constructor(status: Status, message: string, details: readonly Detail[] = [], kind: string = status.toLowerCase()) {
    super(message);
    this.status = status;
    this.details = details;
    this.kind = kind;
  }
}

export function perspectiveError(errorType: ErrorType, message: string, more: Detail = {}): GoogleError {
  const detail = { '@type': 'type.googleapis.com/google.commentanalyzer.v1alpha1.Error', errorType, ...more };
  return new GoogleError('INVALID_ARGUMENT', message, [detail], errorType.toLowerCase());
}

export const commentEmpty = () => perspectiveError('COMMENT_EMPTY', 'Comment must be non-empty.');

/** A field that the messages do not have, or a value that one cannot take. */
function badField(field: string, description: string): GoogleError {
  const violation = { '@type': 'type.googleapis.com/google.rpc.BadRequest', fieldViolations: [{ field, description }] };
  return new GoogleError('INVALID_ARGUMENT', description, [violation], 'invalid_request');
}

/** Where a name has this form it is a name and not a text that slipped into its place, so it may be repeated. */
const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,39}$/;

/** JSON Pointer -> the field as Google writes it; ends before a name that might be a text. */
function fieldPath(pointer: string): string {
  const parts = pointer.split('/').slice(1);
  const strange = parts.findIndex((part) => !NAME.test(part) && !/^\d{1,7}$/.test(part));
  return parts
    .slice(0, strange === -1 ? parts.length : strange)
    .map((part, position) => (/^\d/.test(part) ? `[${part}]` : position === 0 ? part : `.${part}`))
    .join('');
}

/** What is wrong with a body, from what the JSON Schema validator found. */
export function googleValidationError(errors: readonly FastifySchemaValidationError[]): GoogleError {
  const { keyword, instancePath, params } = errors[0] as FastifySchemaValidationError;
  const field = fieldPath(instancePath);
  const place = field === '' ? '' : ` at '${field}'`;
  if (keyword === 'additionalProperties') {
    const unknown = String(params.additionalProperty);
    const name = NAME.test(unknown) ? ` "${unknown}"` : '';
    return badField(field, `Invalid JSON payload received. Unknown name${name}${place}: Cannot find field.`);
  }
  if (field === '') return badField('', 'Invalid JSON payload received. The body must be a JSON object.');
  return badField(field, `Invalid value${place}: ${EXPECTED[keyword] ?? 'not of the expected form'}.`.replace('{}', String(params.type ?? params.limit)));
}

/** Keyword of JSON Schema -> what was expected. */
const EXPECTED: Readonly<Record<string, string>> = {
  type: 'expected {}',
  enum: 'not one of the values that this field takes',
  maxItems: 'at most {} entries',
  maxProperties: 'at most {} entries',
};

/** What the native API's problems are called here, where the HTTP status alone does not say it. */
const FROM_PROBLEM: Partial<Record<ProblemCode, (problem: Problem) => GoogleError>> = {
  invalid_json: () => new GoogleError('INVALID_ARGUMENT', 'Invalid JSON payload received.'),
  invalid_utf8: () => new GoogleError('INVALID_ARGUMENT', 'Invalid JSON payload received. The body is not UTF-8.'),
  invalid_unicode: () => badField('comment.text', "Invalid value at 'comment.text': a lone surrogate is not Unicode."),
  empty_after_normalization: commentEmpty,
  body_too_large: () => new GoogleError('INVALID_ARGUMENT', 'Request payload size exceeds the limit.'),
  not_found: () => new GoogleError('NOT_FOUND', 'Method not found.'),
  method_not_allowed: () => new GoogleError('NOT_FOUND', 'Method not found.'),
};

function toGoogleError(problem: Problem): GoogleError {
  const own = FROM_PROBLEM[problem.code]?.(problem);
  if (own !== undefined) return own;
  const http = PROBLEMS[problem.code].status;
  const status = (Object.keys(STATUSES) as Status[]).find((name) => STATUSES[name] === http);
  return new GoogleError(status ?? 'INVALID_ARGUMENT', `${problem.message}.`);
}

/** The error handler of the protocol's routes. */
export function sendGoogleError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = error instanceof GoogleError ? undefined : problemOf(error, request);
  const { status, message, details, kind } = problem === undefined ? (error as GoogleError) : toGoogleError(problem);
  if (problem === undefined) request.outcome.code = kind;
  return reply
    .code(STATUSES[status])
    .headers(status === 'NOT_FOUND' ? {} : (problem?.details.headers ?? {}))
    .type('application/json; charset=utf-8')
    .send({ error: { code: STATUSES[status], message, status, ...(details.length > 0 ? { details } : {}) } });
}
