/** `comments:suggestscore`: where it is off, and which suggestions are kept. */
import { GoogleProblem, perspectiveError } from './google-error.ts';
import type { Suggestion } from './messages.ts';

/** An `onRequest` hook for where suggestions are off. Comes before the body is read. */
export async function refuseSuggestions(): Promise<void> {
  const message =
    'comments:suggestscore is off here. It needs the setting FEEDBACK_FILE and a key with the scope `admin`.';
  throw new GoogleProblem('not_enabled', 'UNIMPLEMENTED', message);
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
