/** `comments:suggestscore`: who may send suggestions, and which are kept. */
import type { FastifyRequest } from 'fastify';

import { keyMatcher } from '../../admin-key.ts';
import { GoogleProblem, perspectiveError } from './google-error.ts';
import type { Suggestion } from './messages.ts';

/** An `onRequest` hook for where suggestions are off. Comes before the body is read. */
export async function refuseSuggestions(): Promise<void> {
  const message = 'comments:suggestscore is off here. It needs the settings FEEDBACK_FILE and ADMIN_KEY.';
  throw new GoogleProblem('not_enabled', 'UNIMPLEMENTED', message);
}

/** Where the key may stand, for the OpenAPI document. */
export const SUGGEST_SECURITY = [{ googleQueryKey: [] }, { googleKey: [] }, { apiKey: [] }];

/** An `onRequest` hook: lets the admin key through, from where Google's clients put a key. @throws GoogleProblem */
export function requireApiKey(key: string): (request: FastifyRequest) => Promise<void> {
  const matches = keyMatcher(key);
  return async ({ headers, query }) => {
    const given = (query as { key?: unknown }).key ?? headers['x-goog-api-key'] ?? headers['x-api-key'];
    if (given === undefined) {
      throw new GoogleProblem('unauthorized', 'PERMISSION_DENIED', 'The request is missing a valid API key.');
    }
    if (matches(given)) return;
    const detail = { '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID' };
    const message = 'API key not valid. Please pass a valid API key.';
    throw new GoogleProblem('unauthorized', 'INVALID_ARGUMENT', message, [detail]);
  };
}

/** @throws GoogleProblem for a suggestion that suggests nothing */
export function checkSuggestion({ attributeScores }: Suggestion): void {
  const all = Object.values(attributeScores);
  if (all.some(({ summaryScore, spanScores = [] }) => summaryScore === undefined && spanScores.length === 0)) {
    throw perspectiveError('INVALID_REQUEST', 'Entries of attribute_scores must not be empty.');
  }
  const scores = all.flatMap(({ summaryScore, spanScores = [] }) => [summaryScore, ...spanScores.map((s) => s.score)]);
  if (scores.some((score) => score !== undefined && score.value === undefined)) {
    throw perspectiveError('INVALID_REQUEST', 'Every score must have a value.');
  }
}
