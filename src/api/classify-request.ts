/** The body of `POST /classify`. */
import { type Static, Type } from 'typebox';

import { DEFAULT_POLICY, USES } from '../moderation/policy.ts';

export const GATE_VIEWS = ['layers', 'percentiles', 'mean', 'none'] as const;
export const OFFSETS = ['utf16', 'codePoints'] as const;
export const ON_ERROR = ['request', 'item'] as const;
export const PRIORITIES = ['interactive', 'bulk'] as const;
export const DEFAULTS = {
  gates: 'layers',
  threshold: 'balanced',
  windows: false,
  explain: false,
  offsets: 'utf16',
  onError: 'request',
  priority: 'interactive',
} as const;

export interface TextLimits {
  /** Most texts in one request. */
  readonly maxTexts: number;
  /** Longest text, in Unicode code points. */
  readonly maxTextChars: number;
  /** Most texts in one request that asks for explanations. */
  readonly explainTexts: number;
  /** Most variants of a text that an explanation may take. */
  readonly explainWords: number;
}

export function classifyRequestSchema({ maxTexts, maxTextChars, explainWords }: TextLimits) {
  const text = { maxLength: maxTextChars };
  return Type.Object(
    {
      text: Type.Optional(Type.String({ ...text, description: 'One text' })),
      texts: Type.Optional(
        Type.Array(Type.String(text), {
          minItems: 1,
          maxItems: maxTexts,
          description: 'Several texts, answered in order',
        }),
      ),
      model: Type.Optional(Type.String({ description: 'Name of a served model; the default model if absent' })),
      gates: Type.Optional(
        Type.Enum([...GATE_VIEWS], {
          default: DEFAULTS.gates,
          description:
            'How much of the gates the answer holds: every adapted layer, the same with their percentiles on the development split, their mean only, or nothing',
        }),
      ),
      threshold: Type.Optional(
        Type.Union([Type.Number({ minimum: 0, maximum: 1 }), Type.Enum([...USES])], {
          default: DEFAULTS.threshold,
          description: 'A text is flagged from this `offensive` on; a number, or a use for which the model brings one',
        }),
      ),
      policy: Type.Optional(
        Type.String({
          default: DEFAULT_POLICY.name,
          description: 'Name of the policy that makes `decision`; one that names its models excludes `model`',
        }),
      ),
      windows: Type.Optional(
        Type.Boolean({ default: DEFAULTS.windows, description: 'Whether the answer holds each window of a long text' }),
      ),
      explain: Type.Optional(
        Type.Union(
          [
            Type.Boolean(),
            Type.Object(
              {
                words: Type.Optional(
                  Type.Integer({
                    minimum: 1,
                    maximum: explainWords,
                    default: explainWords,
                    description:
                      'Most words, or groups of neighbouring words, that are told apart: each costs a variant',
                  }),
                ),
                offsets: Type.Optional(
                  Type.Enum([...OFFSETS], {
                    default: DEFAULTS.offsets,
                    description: 'What positions count: UTF-16 code units (JavaScript, Java) or code points (Python)',
                  }),
                ),
              },
              { additionalProperties: false },
            ),
          ],
          { default: DEFAULTS.explain, description: 'Whether the answer says which words drove `offensive`' },
        ),
      ),
      onError: Type.Optional(
        Type.Enum([...ON_ERROR], {
          default: DEFAULTS.onError,
          description:
            'What a text without an answer costs: the whole request, or only itself (`item`: its result holds an `error`)',
        }),
      ),
      priority: Type.Optional(
        Type.Enum([...PRIORITIES], {
          default: DEFAULTS.priority,
          description: 'Bulk texts run while no interactive ones wait, and may wait as long as the request may take',
        }),
      ),
    },
    {
      $id: 'ClassifyRequest',
      additionalProperties: false,
      oneOf: [
        { type: 'object', required: ['text'] },
        { type: 'object', required: ['texts'] },
      ],
      examples: [
        { text: 'Have a lovely day, everyone.' },
        { texts: ['Thanks for the quick answer.', 'See you tomorrow.'], gates: 'mean', threshold: 'high-precision' },
        { text: 'Have a lovely day, everyone.', explain: true, gates: 'percentiles' },
      ],
    },
  );
}

export type ClassifyRequest = Static<ReturnType<typeof classifyRequestSchema>>;
