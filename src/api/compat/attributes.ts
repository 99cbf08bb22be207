/** Our labels -> the attributes and categories of other services: what each of theirs is the sum of. */
import type { Manifest } from '../../bundle/manifest.ts';
import type { ServedModel } from '../../engine/types.ts';
import { roundScore } from '../../moderation/scores.ts';

/** Label -> for each service its attributes or categories; the form of a manifest's `attributes`. */
export type Mapping = Manifest['attributes'];

/** A service whose words a mapping knows. */
export type Vocabulary = keyof Mapping[string];

/** One attribute or category -> the columns of `probabilities` that count for it. What is absent is not scored. */
export type Columns = ReadonlyMap<string, readonly number[]>;

/** How each model's labels map: by its manifest, or as ATTRIBUTES_FILE says instead. */
export interface Attributes {
  of(model: ServedModel, vocabulary: Vocabulary): Columns;
}

/** @param overrides by name of the model; each replaces what the manifest says as a whole */
export function createAttributes(overrides: ReadonlyMap<string, Mapping> = new Map()): Attributes {
  return {
    of({ name, manifest }, vocabulary) {
      const mapping = new Map(Object.entries(overrides.get(name) ?? manifest.attributes));
      const pairs = manifest.labels.flatMap((label, column) =>
        (mapping.get(label)?.[vocabulary] ?? []).map((word) => ({ word, column })),
      );
      return new Map(
        [...Map.groupBy(pairs, ({ word }) => word)].map(([word, own]) => [
          word,
          [...new Set(own.map(({ column }) => column))],
        ]),
      );
    },
  };
}

/** The probability that one of the labels holds: classes exclude each other, so it is their sum. */
export function attributeScore(columns: readonly number[], probabilities: readonly number[]): number {
  const sum = columns.reduce((total, column) => total + (probabilities[column] as number), 0);
  return roundScore(Math.min(sum, 1));
}
