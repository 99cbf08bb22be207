/** What to say of a body or query that does not fit its schema. */
import type { FastifySchemaValidationError } from 'fastify/types/schema.js';

import { USES } from '../moderation/policy.ts';
import { LOG_LEVELS } from '../observability/log-level.ts';
import { GATE_VIEWS, OFFSETS, ON_ERROR, PRIORITIES } from './classify-request.ts';
import { Problem, type ProblemCode } from './problems.ts';
import { TIMEOUT_ACCEPTS, TIMEOUT_HEADER } from './request-timeout.ts';
import { isSayableName } from './sayable-name.ts';

const OPTION_VALUES: Readonly<Record<string, string>> = {
  level: `\`level\` must be one of ${LOG_LEVELS.join(', ')}.`,
  model: '`model` must be a string.',
  gates: `\`gates\` must be one of ${GATE_VIEWS.join(', ')}.`,
  threshold: `\`threshold\` must be a number from 0 to 1 or one of ${USES.join(', ')}.`,
  windows: '`windows` must be true or false.',
  explain: '`explain` must be true, false or an object with `words` and `offsets`.',
  'explain/words': '`words` must be a whole number from 1 to EXPLAIN_WORDS.',
  'explain/offsets': `\`offsets\` must be one of ${OFFSETS.join(', ')}.`,
  policy: '`policy` must be a string.',
  onError: `\`onError\` must be one of ${ON_ERROR.join(', ')}.`,
  priority: `\`priority\` must be one of ${PRIORITIES.join(', ')}.`,
};

/** What a header must be, where a route's schema asks for it. */
const HEADER_VALUES: Readonly<Record<string, string>> = { [TIMEOUT_HEADER]: TIMEOUT_ACCEPTS };

const LIMITS: Readonly<Record<string, ProblemCode>> = {
  minItems: 'no_texts',
  maxItems: 'too_many_texts',
  maxLength: 'text_too_long',
};

/**
 * The problem that a request has, from what the JSON Schema validator found.
 *
 * @param part of the request: `body`, `querystring`, `headers`
 */
export function validationProblem(errors: readonly FastifySchemaValidationError[], part: string): Problem {
  // The errors of the branches of an `anyOf` or `oneOf` come before the error that sums them up.
  const { keyword, instancePath: pointer, params } = errors.at(-1) as FastifySchemaValidationError;
  if (part === 'headers') {
    const accepts = HEADER_VALUES[pointer.slice(1)];
    return new Problem('invalid_header', accepts === undefined ? {} : { detail: accepts });
  }
  if (keyword === 'additionalProperties') return unknownOption(String(params.additionalProperty));
  if (errors.some((error) => error.keyword === 'type' && error.instancePath === '')) return new Problem('invalid_body');
  if (keyword === 'oneOf') return new Problem(params.passingSchemas ? 'text_and_texts' : 'missing_text');
  const limit = LIMITS[keyword];
  if (limit !== undefined) return new Problem(limit, { pointer, ...atMost(params.limit, keyword) });
  const values = OPTION_VALUES[pointer.slice(1)];
  if (values !== undefined) return new Problem('invalid_option', { pointer, detail: values });
  return new Problem('invalid_type', { pointer });
}

function unknownOption(name: string): Problem {
  return new Problem('unknown_option', {
    detail: isSayableName(name) ? `There is no option \`${name}\`.` : 'There is no option of that name.',
  });
}

function atMost(limit: unknown, keyword: string): { detail?: string } {
  if (keyword === 'maxItems') return { detail: `At most ${limit} texts.` };
  if (keyword === 'maxLength') return { detail: `At most ${limit} characters.` };
  return {};
}
