/** How the errors of a route appear in the OpenAPI document: one response a status, one example a code. */
import { refer } from './named-schema.ts';
import { PROBLEM_MEDIA_TYPE, PROBLEMS, Problem, type ProblemCode, ProblemSchema, problemDocument } from './problems.ts';

/** Headers that an error of this status carries beside those of every answer. */
const HEADERS: Readonly<Record<number, object>> = {
  401: { 'WWW-Authenticate': { type: 'string', description: 'What is wrong with the key, as RFC 6750 says it' } },
  405: { Allow: { type: 'string', description: 'Methods that the path takes' } },
  429: { 'Retry-After': { type: 'integer', description: 'Seconds to wait' } },
};

/** What any route may answer, and what is none. */
const EVERYWHERE = ['bad_request', 'request_timeout', 'headers_too_large', 'internal_error'] as const;

/** What a route may answer before it is asked, in the shape of its errors; not those that are open to everybody. */
export const ACCESS_PROBLEMS = ['unauthorized', 'forbidden', 'rate_limited'] as const;

/** @returns entries for a route's `schema.response` */
export function problemResponses(...codes: readonly ProblemCode[]) {
  return responsesOf([...codes, ...ACCESS_PROBLEMS, ...EVERYWHERE]);
}

/** What is answered before there is a route, and so in no protocol's shape. */
export function unroutedResponses() {
  return responsesOf(EVERYWHERE);
}

function responsesOf(codes: readonly ProblemCode[]) {
  const byStatus = Map.groupBy(new Set(codes), (code) => PROBLEMS[code].status);
  const ascending = [...byStatus].sort(([one], [other]) => one - other);
  return Object.fromEntries(
    ascending.map(([status, group]) => [
      status,
      {
        description: group.map((code) => `\`${code}\`: ${PROBLEMS[code].title}`).join('. '),
        ...(HEADERS[status] === undefined ? {} : { headers: HEADERS[status] }),
        content: {
          [PROBLEM_MEDIA_TYPE]: {
            schema: refer(ProblemSchema),
            examples: Object.fromEntries(group.map((code) => [code, { value: problemDocument(new Problem(code)) }])),
          },
        },
      },
    ]),
  );
}
