/** Errors in OpenAI's shape: {error: {message, type, param, code}}. */
import type { FastifySchemaValidationError } from 'fastify/types/schema.js';
import { Type } from 'typebox';

import { PROBLEMS, Problem, type ProblemCode } from '../../problems.ts';
import { isSayableName } from '../../sayable-name.ts';
import { bodyProblem, type ForeignError } from '../errors.ts';

const nullable = (description: string) => Type.Union([Type.String(), Type.Null()], { description });

export const OpenAiErrorSchema = Type.Object(
  {
    error: Type.Object(
      {
        message: Type.String(),
        type: Type.Enum(['invalid_request_error', 'rate_limit_error', 'server_error']),
        param: nullable('The part of the body at fault'),
        code: nullable("OpenAI's code where it has one for the problem, else the native API's"),
      },
      { additionalProperties: false },
    ),
  },
  { $id: 'OpenAiError', additionalProperties: false, description: "An error of OpenAI's API" },
);

/** What OpenAI says of a problem that it has too. Where the status is absent, it is the native API's. */
const ANSWERS: Partial<Record<ProblemCode, { status?: number; code: string | null; message?: string }>> = {
  invalid_json: { code: null, message: 'We could not parse the JSON body of your request.' },
  invalid_body: { code: 'invalid_type' },
  unknown_option: { code: 'unknown_parameter' },
  invalid_option: { code: 'unsupported_value' },
  no_texts: { code: 'empty_array' },
  too_many_texts: { code: 'array_above_max_length' },
  text_too_long: { code: 'string_above_max_length' },
  invalid_unicode: { status: 400, code: 'invalid_value' },
  quarantined: { status: 400, code: 'quarantined' },
  unknown_model: {
    code: 'model_not_found',
    message: 'The model does not exist. GET /models lists those that are served.',
  },
  not_found: { code: 'unknown_url', message: 'Invalid URL.' },
  method_not_allowed: { code: 'method_not_supported', message: 'Not allowed with this HTTP method. Use POST.' },
  overloaded: { code: 'rate_limit_exceeded' },
  rate_limited: { code: 'rate_limit_exceeded' },
  unauthorized: { code: 'invalid_api_key', message: 'Incorrect API key provided, or none: send it as a bearer token.' },
  forbidden: { code: 'insufficient_permissions' },
};

/** JSON Pointer -> the parameter as OpenAI writes it: /input/1/text -> input[1].text */
function parameter(pointer: string | undefined): string | null {
  if (pointer === undefined || pointer === '') return null;
  return pointer
    .slice(1)
    .replace(/\/(\d+)/g, '[$1]')
    .replaceAll('/', '.');
}

function typeOf(status: number): string {
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

/** The protocol's `ErrorShape`. */
export function openAiError(problem: Problem): ForeignError {
  const known = ANSWERS[problem.code];
  const status = known?.status ?? PROBLEMS[problem.code].status;
  const error = {
    message: known?.message ?? problem.message,
    type: typeOf(status),
    param: parameter(problem.details.pointer),
    code: known === undefined ? problem.code : known.code,
  };
  return { status, body: { error } };
}

const INPUT = '`input` must be a text, a list of texts, or a list of parts like {"type": "text", "text": "…"}.';

const ordinary = bodyProblem({ input: INPUT, model: '`model` must be the name of a model.' });

/** A `schemaErrorFormatter`. */
export function openAiValidation(errors: readonly FastifySchemaValidationError[]): Problem {
  const { keyword, instancePath, params } = errors.at(-1) as FastifySchemaValidationError;
  if (keyword === 'additionalProperties' && instancePath === '') {
    const name = String(params.additionalProperty);
    const detail = `Unrecognized request argument supplied${isSayableName(name) ? `: ${name}` : ''}.`;
    return new Problem('unknown_option', { detail });
  }
  if (keyword === 'required' && instancePath === '') {
    return new Problem('invalid_body', { pointer: '/input', detail: `Missing required parameter: 'input'. ${INPUT}` });
  }
  return ordinary(errors);
}
