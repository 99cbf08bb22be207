/** The body of `POST /classify`. */
import { type Static, Type } from 'typebox';

export const GATE_VIEWS = ['layers', 'mean', 'none'] as const;
export const USES = ['balanced', 'high-precision', 'high-recall'] as const;
export const DEFAULTS = { gates: 'layers', threshold: 'balanced', windows: false } as const;

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
      windows: Type.Optional(
        Type.Boolean({ default: DEFAULTS.windows, description: 'Whether the answer holds each window of a long text' }),
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
