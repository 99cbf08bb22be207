/**
 * The messages of Perspective's Comment Analyzer API v1alpha1, as its discovery document has them. Requests are
 * validated by them, and our discovery document is made from them (discovery.ts).
 */
import { type Static, type TSchema, Type } from 'typebox';

import { refer } from '../../named-schema.ts';

/** Keeps these names apart from others in the OpenAPI document. */
export const NAMESPACE = 'commentanalyzer.';

const SCORE_TYPES = ['SCORE_TYPE_UNSPECIFIED', 'PROBABILITY', 'STD_DEV_SCORE', 'PERCENTILE', 'RAW'] as const;
const TEXT_TYPES = ['TEXT_TYPE_UNSPECIFIED', 'PLAIN_TEXT', 'HTML'] as const;

const optional = {
  text: (description?: string) => Type.Optional(Type.String(description === undefined ? {} : { description })),
  flag: (description: string) => Type.Optional(Type.Boolean({ description })),
  texts: (description: string) => Type.Optional(Type.Array(Type.String(), { maxItems: 100, description })),
};

function message<P extends Record<string, TSchema>>(
  name: string,
  properties: P,
  description: string,
  example?: object,
) {
  const examples = example === undefined ? {} : { examples: [example] };
  const $id = `${NAMESPACE}${name}`;
  // `Type.Object` forgets its $id in its type.
  return Object.assign(Type.Object(properties, { additionalProperties: false, description, ...examples }), { $id });
}

/** Fastify would leave names with a line break unchecked if the pattern of `Type.Record` decided. */
function mapOf<T extends TSchema>(value: T, description: string, bounds: object = {}) {
  return Type.Unsafe<Record<string, Static<T>>>({
    type: 'object',
    additionalProperties: value,
    description,
    ...bounds,
  });
}

const SOME = { minProperties: 1, maxProperties: 100 };

const TextEntry = message(
  'TextEntry',
  {
    text: optional.text('UTF-8 encoded text'),
    type: Type.Optional(Type.Enum([...TEXT_TYPES], { description: 'Only plain text is scored' })),
  },
  'A body of text',
);

const ArticleAndParentComment = message(
  'ArticleAndParentComment',
  { article: Type.Optional(refer(TextEntry)), parentComment: Type.Optional(refer(TextEntry)) },
  'What a comment was left on',
);

const Context = message(
  'Context',
  {
    entries: Type.Optional(Type.Array(refer(TextEntry))),
    articleAndParentComment: Type.Optional(refer(ArticleAndParentComment)),
  },
  'What the comment refers to; one of the two. It does not change scores.',
);

const AttributeParameters = message(
  'AttributeParameters',
  {
    scoreType: Type.Optional(Type.Enum([...SCORE_TYPES], { description: 'Only probabilities are given' })),
    scoreThreshold: Type.Optional(Type.Number({ description: 'Lower scores are left out of the answer' })),
  },
  'How an attribute is to be scored',
);

const Score = message(
  'Score',
  { value: Type.Optional(Type.Number()), type: Type.Optional(Type.Enum([...SCORE_TYPES])) },
  'A score and what kind it is',
);

const SpanScore = message(
  'SpanScore',
  {
    begin: Type.Optional(Type.Integer({ description: 'First UTF-16 code unit of the span' })),
    end: Type.Optional(Type.Integer({ description: 'First UTF-16 code unit after the span' })),
    score: Type.Optional(refer(Score)),
  },
  'The score of a part of the text',
);

const AttributeScores = message(
  'AttributeScores',
  { summaryScore: Type.Optional(refer(Score)), spanScores: Type.Optional(Type.Array(refer(SpanScore))) },
  'Scores of one attribute: of the whole comment and of its parts',
);

export const AnalyzeCommentRequest = message(
  'AnalyzeCommentRequest',
  {
    comment: refer(TextEntry),
    requestedAttributes: mapOf(refer(AttributeParameters), 'By name of the attribute', SOME),
    languages: optional.texts('Of the comment, ISO 639-1 or BCP 47'),
    dropUnsupportedAttributes: optional.flag(
      'Leave out attributes that are not scored, instead of refusing the request',
    ),
    spanAnnotations: optional.flag('Also score each sentence'),
    doNotStore: optional.flag('Without effect: comments are never stored'),
    clientToken: optional.text('Echoed in the answer'),
    sessionId: optional.text('Without effect'),
    communityId: optional.text('Without effect'),
    context: Type.Optional(refer(Context)),
  },
  'A comment to score',
  {
    comment: { text: 'Have a lovely day, everyone. See you tomorrow.' },
    requestedAttributes: { TOXICITY: {} },
    languages: ['en'],
    spanAnnotations: true,
  },
);

export const AnalyzeCommentResponse = message(
  'AnalyzeCommentResponse',
  {
    attributeScores: Type.Optional(mapOf(refer(AttributeScores), 'By name of the attribute, as in the request')),
    languages: optional.texts('What the comment was scored as'),
    detectedLanguages: optional.texts('What the text looks like'),
    clientToken: optional.text('As in the request'),
  },
  'Scores of a comment',
);

export const SuggestCommentScoreRequest = message(
  'SuggestCommentScoreRequest',
  {
    comment: refer(TextEntry),
    attributeScores: mapOf(refer(AttributeScores), 'What the scores should have been, by name of the attribute', {
      ...SOME,
      propertyNames: { maxLength: 256 },
    }),
    languages: optional.texts('Of the comment'),
    clientToken: optional.text('Echoed in the answer'),
    sessionId: optional.text('Kept with the suggestion'),
    communityId: optional.text('Kept with the suggestion'),
    context: Type.Optional(refer(Context)),
  },
  'Scores that a comment should have had',
  {
    comment: { text: 'Have a lovely day, everyone.' },
    attributeScores: { TOXICITY: { summaryScore: { value: 0.1 } } },
    languages: ['en'],
  },
);

export const SuggestCommentScoreResponse = message(
  'SuggestCommentScoreResponse',
  {
    clientToken: optional.text('As in the request'),
    requestedLanguages: optional.texts('As in the request'),
    detectedLanguages: optional.texts('What the text looks like'),
  },
  'The suggestion was kept',
);

/** In an order in which each is defined before it is referred to. */
export const MESSAGES = [
  TextEntry,
  ArticleAndParentComment,
  Context,
  AttributeParameters,
  Score,
  SpanScore,
  AttributeScores,
  AnalyzeCommentRequest,
  AnalyzeCommentResponse,
  SuggestCommentScoreRequest,
  SuggestCommentScoreResponse,
] as const;

export type AnalyzeRequest = Static<typeof AnalyzeCommentRequest>;
export type AnalyzeResponse = Static<typeof AnalyzeCommentResponse>;
export type ScoresOfAttribute = Static<typeof AttributeScores>;
export type Suggestion = Static<typeof SuggestCommentScoreRequest>;
