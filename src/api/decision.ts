/** What a policy makes of a text, as answers show it. */
import { Type } from 'typebox';

import { EVASION_KINDS } from '../moderation/evasion/kinds.ts';
import { DECISIONS } from '../moderation/policy.ts';
import { REASON_CODES } from '../moderation/types.ts';

const closed = { additionalProperties: false };
const EvasionKind = Type.Enum([...EVASION_KINDS]);

export const PolicyReference = Type.Object(
  { name: Type.String(), version: Type.String() },
  { ...closed, description: 'What `decision` was made by' },
);

export const Decision = Type.Enum([...DECISIONS], { description: 'What the policy says is to be done with the text' });

export const Reason = Type.Object(
  {
    code: Type.Enum([...REASON_CODES]),
    model: Type.Optional(Type.String({ description: 'Whose number it was' })),
    label: Type.Optional(Type.String({ description: 'The class that was too probable; `offensive` where absent' })),
    value: Type.Optional(Type.Number({ description: 'What was found' })),
    threshold: Type.Optional(Type.Number({ description: 'What it was held against' })),
    folded: Type.Optional(Type.Literal(true, { description: 'The number is that of the text with disguises undone' })),
    kinds: Type.Optional(
      Type.Array(EvasionKind, { description: 'With `evasion`: those that the policy sends to review' }),
    ),
  },
  closed,
);

export const EvasionSchema = Type.Object(
  {
    kinds: Type.Partial(
      Type.Object(Object.fromEntries(EVASION_KINDS.map((kind) => [kind, Type.Integer({ minimum: 1 })])), closed),
      { ...closed, description: 'How many places of each kind of disguise were found' },
    ),
    folded: Type.Boolean({
      description:
        'Whether the scores are those of the text with disguises undone: it was decided on more gravely, or scored higher',
    }),
    offensiveAsSent: Type.Optional(
      Type.Number({ minimum: 0, maximum: 1, description: 'With `folded`: `offensive` of the text as it was sent' }),
    ),
  },
  closed,
);

export const LanguageSchema = Type.Object(
  {
    detected: Type.Union([Type.String(), Type.Null()], { description: 'ISO 639-1 code; null when not sure' }),
    supported: Type.Union([Type.Boolean(), Type.Null()], {
      description: 'Whether the models that decided were made for it; null when not sure',
    }),
  },
  { ...closed, description: 'Absent where LANGUAGE_DETECTION is `off`' },
);
