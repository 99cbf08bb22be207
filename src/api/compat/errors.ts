/** Errors in the shape of a foreign protocol: made from the problem that the native API would answer. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { FastifySchemaValidationError } from 'fastify/types/schema.js';
import type { TSchema } from 'typebox';

import { noteProblem } from '../error-handler.ts';
import { refer } from '../named-schema.ts';
import { ACCESS_PROBLEMS, unroutedResponses } from '../problem-responses.ts';
import { Problem, type ProblemCode } from '../problems.ts';

/** What a protocol answers to one kind of problem. */
export interface ForeignError {
  readonly status: number;
  readonly body: object;
}

export type ErrorShape = (problem: Problem) => ForeignError;

/** Without a charset, which JSON does not have: some clients compare the whole header. */
export const JSON_TYPE = 'application/json';

/** What is wrong, and where in the body. */
export function messageOf({ message, details: { pointer } }: Problem): string {
  return pointer ? `${message} (${pointer})` : message;
}

/** Answers every error of the routes of `app` in the protocol's shape. */
export function answerErrors(app: FastifyInstance, shape: ErrorShape): void {
  app.setErrorHandler((error, request, reply) => sendForeign(error, shape, request, reply));
}

export function sendForeign(error: unknown, shape: ErrorShape, request: FastifyRequest, reply: FastifyReply) {
  const problem = noteProblem(error, request);
  const { status, body } = shape(problem);
  // As bytes, because Fastify adds a charset to a text.
  return reply
    .code(status)
    .headers(problem.details.headers ?? {})
    .type(JSON_TYPE)
    .send(Buffer.from(JSON.stringify(body)));
}

/** What every route that takes texts may answer. */
export const CLASSIFICATION_PROBLEMS = [
  'invalid_json',
  'invalid_utf8',
  'invalid_body',
  'invalid_header',
  'no_texts',
  'too_many_texts',
  'text_too_long',
  'body_too_large',
  'unsupported_media_type',
  'unknown_model',
  'empty_after_normalization',
  'invalid_unicode',
  'overloaded',
  'quarantined',
  'deadline_exceeded',
  'inference_failed',
  'shutting_down',
] as const satisfies readonly ProblemCode[];

/**
 * Entries for a route's `schema.response`: one response a status, one example a problem. What goes wrong before there is
 * a route is answered as a problem document even here.
 *
 * @param schema of the protocol's error, added to the app with `addSchema`
 */
export function errorResponses(
  shape: ErrorShape,
  schema: TSchema & { readonly $id?: string },
  codes: readonly ProblemCode[],
) {
  const responses: Record<string, { description: string; headers?: object; content: Record<string, unknown> }> =
    unroutedResponses();
  const problems = [...codes, ...ACCESS_PROBLEMS, 'internal_error' as const].map((code) => new Problem(code));
  for (const [status, group] of Map.groupBy(problems, (problem) => shape(problem).status)) {
    const before = responses[status];
    responses[status] = {
      ...before,
      description: group.map(({ code, message }) => `\`${code}\`: ${message}`).join('. '),
      content: {
        ...before?.content,
        [JSON_TYPE]: {
          schema: refer(schema),
          examples: Object.fromEntries(group.map((problem) => [problem.code, { value: shape(problem).body }])),
        },
      },
    };
  }
  return responses;
}

/** What a schema says about texts, by the keyword that was not met. */
const LIMITS: Readonly<Record<string, { code: ProblemCode; detail(limit: unknown): string }>> = {
  minItems: { code: 'no_texts', detail: () => 'There must be at least one text.' },
  maxItems: { code: 'too_many_texts', detail: (limit) => `A request may have at most ${limit} texts.` },
  maxLength: { code: 'text_too_long', detail: (limit) => `A text may have at most ${limit} characters.` },
};

/**
 * A `schemaErrorFormatter` for bodies of a foreign protocol whose only lists and bounded strings are texts.
 *
 * @param expected what a field must be, by its name; a whole sentence
 */
export function bodyProblem(expected: Readonly<Record<string, string>>) {
  return (errors: readonly FastifySchemaValidationError[]): Problem => {
    for (const { keyword, params, instancePath: pointer } of errors) {
      const limit = LIMITS[keyword];
      if (limit !== undefined) return new Problem(limit.code, { detail: limit.detail(params.limit), pointer });
    }
    const { keyword, instancePath: pointer, params } = errors.at(-1) as FastifySchemaValidationError;
    const field = keyword === 'required' && pointer === '' ? String(params.missingProperty) : pointer.split('/')[1];
    const detail = field === undefined ? 'The body must be a JSON object.' : expected[field];
    return detail === undefined ? fieldProblem(errors) : new Problem('invalid_body', { detail, pointer });
  };
}

/** For schemas that say enough by themselves: their names and the validator's words, nothing of what was sent. */
export function fieldProblem(errors: readonly FastifySchemaValidationError[]): Problem {
  const { instancePath: pointer, message } = errors.at(-1) as FastifySchemaValidationError;
  return new Problem('invalid_body', {
    detail: `${pointer === '' ? 'The body' : 'This'} ${message}.`,
    pointer,
  });
}
