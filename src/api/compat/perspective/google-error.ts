/** Errors in the shape of Google's APIs: {error: {code, message, status, details}}. */
import type { FastifySchemaValidationError } from 'fastify/types/schema.js';
import { Type } from 'typebox';

import { AccessProblem, type AccessReason } from '../../access/access-problem.ts';
import { PROBLEMS, Problem, type ProblemCode } from '../../problems.ts';
import { isSayableName } from '../../sayable-name.ts';
import type { ForeignError } from '../errors.ts';

/** Canonical status -> HTTP status. */
const STATUSES = {
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

const STATUS_NAMES = Object.keys(STATUSES) as Status[];

export const GoogleErrorSchema = Type.Object(
  {
    error: Type.Object(
      {
        code: Type.Integer({ description: 'The HTTP status' }),
        message: Type.String(),
        status: Type.Enum(STATUS_NAMES),
        details: Type.Optional(
          Type.Array(Type.Object({ '@type': Type.String() }), {
            description: 'Perspective names its `errorType` here',
          }),
        ),
      },
      { additionalProperties: false },
    ),
  },
  { $id: 'GoogleError', additionalProperties: false, description: 'Error of a Google API' },
);

type Detail = Readonly<Record<string, unknown>>;

/** A problem of which Google's APIs say more than the native one does. Its message never repeats what a text says. */
export class GoogleProblem extends Problem {
  readonly status: Status;
  readonly more: readonly Detail[];
  /** HTTP status. */
  readonly http: number;

  constructor(
    code: ProblemCode,
    status: Status,
    message: string,
    more: readonly Detail[] = [],
    http: number = STATUSES[status],
  ) {
    super(code, { detail: message });
    this.status = status;
    this.more = more;
    this.http = http;
  }
}

/** Perspective's own kinds of bad request -> what the native API, and so the log, calls them. */
const ERROR_TYPES = {
  COMMENT_EMPTY: 'empty_after_normalization',
  COMMENT_TOO_LONG: 'text_too_long',
  NO_REQUESTED_ATTRIBUTES: 'invalid_body',
  LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE: 'invalid_option',
  INVALID_REQUEST: 'invalid_option',
} as const satisfies Record<string, ProblemCode>;

export function perspectiveError(errorType: keyof typeof ERROR_TYPES, message: string, more: Detail = {}) {
  const detail = { '@type': 'type.googleapis.com/google.commentanalyzer.v1alpha1.Error', errorType, ...more };
  return new GoogleProblem(ERROR_TYPES[errorType], 'INVALID_ARGUMENT', message, [detail]);
}

export const commentEmpty = () => perspectiveError('COMMENT_EMPTY', 'Comment must be non-empty.');

/** A field that the messages do not have, or a value that one cannot take. */
function badField(field: string, description: string): GoogleProblem {
  const violation = { '@type': 'type.googleapis.com/google.rpc.BadRequest', fieldViolations: [{ field, description }] };
  return new GoogleProblem('invalid_body', 'INVALID_ARGUMENT', description, [violation]);
}

const POSITION = /^\d{1,7}$/;

/** JSON Pointer -> the field as Google writes it; ends before a name that might be a text. */
function fieldPath(pointer: string): string {
  const parts = pointer.split('/').slice(1);
  const strange = parts.findIndex((part) => !isSayableName(part) && !POSITION.test(part));
  const path = parts.slice(0, strange === -1 ? parts.length : strange);
  return path
    .map((part) => (POSITION.test(part) ? `[${part}]` : `.${part}`))
    .join('')
    .replace(/^\./, '');
}

/** Keyword of JSON Schema -> what was expected. */
const EXPECTED: Readonly<Record<string, (params: Readonly<Record<string, unknown>>) => string>> = {
  type: ({ type }) => `expected ${type}`,
  enum: () => 'not one of the values that this field takes',
  maxItems: ({ limit }) => `at most ${limit} entries`,
  maxProperties: ({ limit }) => `at most ${limit} entries`,
};

/** Fields that must be there and hold something. */
const MISSING: Readonly<Record<string, () => GoogleProblem>> = {
  comment: commentEmpty,
  requestedAttributes: () => perspectiveError('NO_REQUESTED_ATTRIBUTES', 'Missing requested_attributes'),
  attributeScores: () => perspectiveError('INVALID_REQUEST', 'attribute_scores must not be empty.'),
};

/** A `schemaErrorFormatter`: what is wrong with a body, from what the JSON Schema validator found. */
export function googleValidation(errors: readonly FastifySchemaValidationError[]): GoogleProblem {
  const { keyword, instancePath, params } = errors[0] as FastifySchemaValidationError;
  const field = fieldPath(instancePath);
  const missing =
    MISSING[keyword === 'required' ? String(params.missingProperty) : keyword === 'minProperties' ? field : ''];
  if (missing !== undefined) return missing();
  const place = field === '' ? '' : ` at '${field}'`;
  if (keyword === 'additionalProperties') {
    const unknown = String(params.additionalProperty);
    const name = isSayableName(unknown) ? ` "${unknown}"` : '';
    return badField(field, `Invalid JSON payload received. Unknown name${name}${place}: Cannot find field.`);
  }
  if (field === '') return badField('', 'Invalid JSON payload received. The body must be a JSON object.');
  const expected = EXPECTED[keyword]?.(params) ?? 'not of the expected form';
  return badField(field, `Invalid value${place}: ${expected}.`);
}

/** Where a problem's HTTP status alone does not say what Google answers. */
const ANSWERS: Partial<Record<ProblemCode, () => GoogleProblem>> = {
  invalid_json: () => new GoogleProblem('invalid_json', 'INVALID_ARGUMENT', 'Invalid JSON payload received.'),
  invalid_unicode: () => badField('comment.text', "Invalid value at 'comment.text': a lone surrogate is not Unicode."),
  empty_after_normalization: commentEmpty,
  body_too_large: () =>
    new GoogleProblem('body_too_large', 'INVALID_ARGUMENT', 'Request payload size exceeds the limit.'),
  // As it is said of one that is sent and none; in the document, for both.
  unauthorized: () => REFUSALS.unknown(new AccessProblem('unknown', 'classify')),
  not_found: () => new GoogleProblem('not_found', 'NOT_FOUND', 'Method not found.'),
  method_not_allowed: () =>
    new GoogleProblem('method_not_allowed', 'UNIMPLEMENTED', 'Not with this HTTP method.', [], 405),
};

/** What Google says of keys, each with a status of its own. */
const REFUSALS: Readonly<Record<AccessReason, (problem: AccessProblem) => GoogleProblem>> = {
  missing: () => new GoogleProblem('unauthorized', 'PERMISSION_DENIED', 'The request is missing a valid API key.'),
  unknown() {
    const detail = { '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID' };
    const message = 'API key not valid. Please pass a valid API key.';
    return new GoogleProblem('unauthorized', 'INVALID_ARGUMENT', message, [detail]);
  },
  scope: ({ message }) => new GoogleProblem('forbidden', 'PERMISSION_DENIED', message),
};

function asGoogleProblem(problem: Problem): GoogleProblem | undefined {
  if (problem instanceof GoogleProblem) return problem;
  if (problem instanceof AccessProblem) return REFUSALS[problem.reason](problem);
  return ANSWERS[problem.code]?.();
}

/** A status that Google does not know becomes the bad request that it would be there. */
function statusOf(problem: Problem): Status {
  const http = PROBLEMS[problem.code].status;
  return STATUS_NAMES.find((name) => STATUSES[name] === http) ?? 'INVALID_ARGUMENT';
}

/** The protocol's `ErrorShape`. */
export function googleError(problem: Problem): ForeignError {
  const known = asGoogleProblem(problem);
  const status = known?.status ?? statusOf(problem);
  const details = known?.more ?? [];
  const code = known?.http ?? STATUSES[status];
  const message = known?.message ?? problem.message;
  return { status: code, body: { error: { code, message, status, ...(details.length > 0 ? { details } : {}) } } };
}
