/** The body of `POST /classify`. */
import { type Static, Type } from 'typebox';

import { DEFAULT_POLICY, USES } from '../moderation/policy.ts';

export const GATE_VIEWS = ['layers', 'mean', 'none'] as const;
export const ON_ERROR = ['request', 'item'] as const;
export const PRIORITIES = ['interactive', 'bulk'] as const;
export const DEFAULTS = {
  gates: 'layers',
  threshold: 'balanced',
  windows: false,
  onError: 'request',
  priority: 'interactive',
} as const;

export interface TextLimits {
  /** Most texts in one request. */
  readonly maxTexts: number;
  /** Longest text, in Unicode code points. */
  readonly maxTextChars: number;
}

export function classifyRequestSchema({ maxTexts, maxTextChars }: TextLimits) {
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
          description: 'How much of the gates the answer holds: every adapted layer, their mean only, or nothing',
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
      ],
    },
  );
}

export type ClassifyRequest = Static<ReturnType<typeof classifyRequestSchema>>;
