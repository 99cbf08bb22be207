/**
 * A policy: how probabilities become `allow`, `review` or `block` (docs/policies.md).
 *
 * The JSON Schema that editors validate against, `policy.schema.json`, is generated from this file by `npm run schema`
 * and checked for drift by `npm test`.
 */
import { type Static, Type } from 'typebox';

import { EVASION_KINDS } from './evasion/kinds.ts';

/** From mild to grave. */
export const DECISIONS = ['allow', 'review', 'block'] as const;
export type Decision = (typeof DECISIONS)[number];

export const USES = ['balanced', 'high-precision', 'high-recall'] as const;

const closed = { additionalProperties: false };

const OwnLimit = Type.Number({ minimum: 0, maximum: 1, description: 'From this probability on' });
const Limit = Type.Union([OwnLimit, Type.Enum([...USES])], {
  description:
    'From this probability on; a name stands for the threshold that the model was measured with for that use',
});

const OffensiveBand = Type.Object(
  { review: Type.Optional(Limit), block: Type.Optional(Limit) },
  { ...closed, minProperties: 1, description: 'For the sum over all labels that mean offensive' },
);
const LabelBand = Type.Object(
  { review: Type.Optional(OwnLimit), block: Type.Optional(OwnLimit) },
  { ...closed, minProperties: 1 },
);

const Thresholds = Type.Object(
  {
    offensive: Type.Optional(OffensiveBand),
    labels: Type.Optional(
      Type.Record(Type.String({ minLength: 1 }), LabelBand, { minProperties: 1, description: 'For single labels' }),
    ),
  },
  { ...closed, minProperties: 1, description: 'Each is tried on its own; the gravest that is reached counts' },
);

export const PolicySchema = Type.Object(
  {
    $schema: Type.Optional(Type.String({ description: 'For editors; not read' })),
    schemaVersion: Type.Literal(1),
    name: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$', description: 'What a request calls it by' }),
    version: Type.String({
      pattern: '^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$',
      description: 'Reported in every answer: change it with every change of the policy',
    }),
    description: Type.Optional(Type.String({ description: 'For people' })),
    models: Type.Optional(
      Type.Array(
        Type.Object(
          {
            model: Type.String({ minLength: 1, description: 'Name, alias or `name@version` of a served model' }),
            thresholds: Type.Optional(Thresholds),
          },
          closed,
        ),
        {
          minItems: 1,
          maxItems: 8,
          description: 'Models that decide, each read once a text; the model of the request if absent',
        },
      ),
    ),
    combine: Type.Optional(
      Type.Enum(['any', 'all', 'max'], {
        description:
          'Of several models: `any` the gravest decision counts (default), `all` the mildest, `max` the highest of their scores is held against the policy’s `thresholds`',
      }),
    ),
    thresholds: Type.Optional(Thresholds),
    gates: Type.Optional(
      Type.Object(
        {
          reviewAbovePercentile: Type.Number({
            minimum: 0,
            maximum: 100,
            description: 'Sends a text to review when its mean gate is above this percentile of the development split',
          }),
        },
        closed,
      ),
    ),
    evasion: Type.Optional(
      Type.Object(
        {
          fold: Type.Optional(
            Type.Boolean({ description: 'Also score the text with disguises undone; the graver decision counts' }),
          ),
          review: Type.Optional(
            Type.Array(Type.Enum([...EVASION_KINDS]), {
              uniqueItems: true,
              description: 'Kinds of disguise that send a text to review whatever its score',
            }),
          ),
        },
        closed,
      ),
    ),
    languages: Type.Optional(
      Type.Object(
        {
          unlisted: Type.Enum(['allow', 'review', 'block'], {
            description: 'The least that happens to a text in a language that a model was not made for',
          }),
        },
        closed,
      ),
    ),
  },
  { ...closed, $id: 'urn:ds-lora:policy:1', title: 'Moderation policy' },
);

export type Policy = Static<typeof PolicySchema>;
export type PolicyThresholds = Static<typeof Thresholds>;

/** What decides when a request names no policy and no file replaces it: the thresholds that the model brings. */
export const DEFAULT_POLICY: Policy = {
  schemaVersion: 1,
  name: 'default',
  version: '1',
  description: 'Review from the balanced threshold of the model on, block from its high-precision threshold on.',
  thresholds: { offensive: { review: 'balanced', block: 'high-precision' } },
};
