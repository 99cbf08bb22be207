/** `comments:analyze`: a comment in, the scores of the requested attributes out. */
import { EngineError } from '../../../engine/types.ts';
import type { Span } from '../../../moderation/words.ts';
import { attributeScore } from '../attributes.ts';
import type { Scored } from '../classified.ts';
import type { ScoredAttribute } from './attributes.ts';
import { commentEmpty, perspectiveError } from './google-error.ts';
import type { Language } from './language.ts';
import type { AnalyzeRequest, AnalyzeResponse, ScoresOfAttribute } from './messages.ts';

/** 20 KB, as Perspective states and its clients check. */
const MAX_COMMENT_BYTES = 20_480;

/** The text of a comment. @throws GoogleError when there is none, it is too long, or no plain text */
export function commentText({ comment, context }: Pick<AnalyzeRequest, 'comment' | 'context'>): string {
  const { text = '', type = 'PLAIN_TEXT' } = comment;
  if (text === '') throw commentEmpty();
  if (Buffer.byteLength(text) > MAX_COMMENT_BYTES) {
    throw perspectiveError('COMMENT_TOO_LONG', 'Comment text too long.');
  }
  if (type === 'HTML') {
    throw perspectiveError('INVALID_REQUEST', "Currently, only 'PLAIN_TEXT' comments are supported");
  }
  if (context?.entries !== undefined && context.articleAndParentComment !== undefined) {
    throw perspectiveError(
      'INVALID_REQUEST',
      'Context can have either entries or article_and_parent_comment, but both fields were populated.',
    );
  }
  return text;
}

/** A part of the comment and what became of it. */
export interface SpanOutcome {
  readonly span: Span;
  readonly outcome: Scored | EngineError;
}

export function analyzeResponse(
  summary: Scored,
  spans: readonly SpanOutcome[],
  attributes: readonly ScoredAttribute[],
  { used, detected }: Language,
  clientToken: string | undefined,
): AnalyzeResponse {
  return {
    attributeScores: Object.fromEntries(attributes.map((one) => [one.name, scoresOf(one, summary, spans)])),
    languages: [...used],
    ...(detected === undefined ? {} : { detectedLanguages: [...detected] }),
    ...(clientToken === undefined ? {} : { clientToken }),
  };
}

function scoresOf(
  { columns, threshold }: ScoredAttribute,
  summary: Scored,
  spans: readonly SpanOutcome[],
): ScoresOfAttribute {
  const score = ({ exact }: Scored) => {
    const value = attributeScore(columns, exact.probabilities);
    return value < threshold ? undefined : { value, type: 'PROBABILITY' as const };
  };
  const summaryScore = score(summary);
  const spanScores = spans.flatMap(({ span, outcome }) => {
    const own = outcome instanceof EngineError ? undefined : score(outcome);
    return own === undefined ? [] : [{ ...span, score: own }];
  });
  return {
    ...(spanScores.length === 0 ? {} : { spanScores }),
    ...(summaryScore === undefined ? {} : { summaryScore }),
  };
}
