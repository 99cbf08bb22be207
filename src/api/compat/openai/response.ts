/** The answer of `POST /v1/moderations`. */
import { type Static, type TSchema, Type } from 'typebox';

import { EngineError, type ServedModel } from '../../../engine/types.ts';
import { attributeScore, type Columns } from '../attributes.ts';
import type { Scored } from '../classified.ts';
import { CATEGORIES, type Category } from './categories.ts';

const closed = { additionalProperties: false };

function byCategory<T extends TSchema>(value: T, description: string) {
  const properties = Object.fromEntries(CATEGORIES.map((name) => [name, value])) as Record<Category, T>;
  return Type.Object(properties, { ...closed, description });
}

const ModerationResult = Type.Object(
  {
    flagged: Type.Boolean({ description: '`offensive` is at or above the balanced threshold of the model' }),
    categories: byCategory(Type.Boolean(), 'Of a flagged text: those at or above the threshold, or else the highest'),
    category_scores: byCategory(Type.Number({ minimum: 0, maximum: 1 }), 'Probabilities; 0 where not scored'),
    category_applied_input_types: byCategory(Type.Array(Type.Literal('text')), 'Empty where not scored'),
  },
  closed,
);

export const ModerationResponseSchema = Type.Object(
  {
    id: Type.String({ pattern: '^modr-[0-9a-f]{32}$' }),
    model: Type.String({ description: 'Name and version of the model that answered' }),
    results: Type.Array(ModerationResult, { description: 'One a text, in order' }),
  },
  { $id: 'ModerationResponse', ...closed },
);

export type ModerationResult = Static<typeof ModerationResult>;

/** @param columns by category, of those that the model scores */
export function moderationResult(
  { manifest }: ServedModel,
  columns: Columns,
  result: Scored | EngineError,
): ModerationResult {
  // Nothing was left to read, for instance of a text of punctuation: no input was applied to any category.
  if (result instanceof EngineError) return fill(new Map(), false, 0);
  const threshold = manifest.thresholds.balanced.value;
  const scores = new Map(
    CATEGORIES.flatMap((category) => {
      const own = columns.get(category);
      return own === undefined ? [] : [[category, attributeScore(own, result.exact.probabilities)] as const];
    }),
  );
  return fill(scores, result.offensive >= threshold, Math.min(threshold, Math.max(...scores.values())));
}

/** @param from a category of a flagged text holds from this score on */
function fill(scores: ReadonlyMap<Category, number>, flagged: boolean, from: number): ModerationResult {
  const of = <T>(value: (score: number | undefined) => T) =>
    Object.fromEntries(CATEGORIES.map((category) => [category, value(scores.get(category))])) as Record<Category, T>;
  return {
    flagged,
    categories: of((score) => flagged && score !== undefined && score >= from),
    category_scores: of((score) => score ?? 0),
    category_applied_input_types: of((score) => (score === undefined ? [] : ['text' as const])),
  };
}
