/** `explain` of `POST /classify`: which words drove the score, as an answer shows it. */
import { type Static, Type } from 'typebox';

import { EngineError, type ServedModel, type TextOutcome } from '../engine/types.ts';
import type { Explain, Explanation } from '../moderation/explain.ts';
import type { Span } from '../moderation/words.ts';
import { type ClassifyRequest, DEFAULTS, OFFSETS } from './classify-request.ts';

const closed = { additionalProperties: false };
const position = {
  begin: Type.Integer({ minimum: 0 }),
  end: Type.Integer({ minimum: 0, description: 'Behind the last character' }),
};

export const ExplanationSchema = Type.Object(
  {
    offsets: Type.Enum([...OFFSETS], { description: 'What `begin` and `end` count in the text as it was sent' }),
    passage: Type.Object(position, {
      ...closed,
      description: 'What was explained: the whole text, or of one of several windows its most offensive passage',
    }),
    offensive: Type.Number({ minimum: 0, maximum: 1, description: 'Of the passage' }),
    spans: Type.Array(
      Type.Object(
        {
          ...position,
          contribution: Type.Number({
            minimum: -1,
            maximum: 1,
            description: 'How much lower `offensive` of the passage is without this part of it',
          }),
        },
        closed,
      ),
      { description: 'Every word in order; neighbouring words together where the passage has more than `words`' },
    ),
    words: Type.Integer({ minimum: 0, description: 'Words of the passage' }),
    variants: Type.Integer({ minimum: 0, description: 'Texts that were classified for the explanation' }),
    tokens: Type.Integer({ minimum: 0, description: 'Their tokens' }),
  },
  { ...closed, description: 'With `explain`: what the score depends on in the text (docs/explanations.md)' },
);

export interface ExplainOptions {
  readonly words: number;
  readonly offsets: (typeof OFFSETS)[number];
}

/** By the index of the text; a text without an answer has none. */
export interface Explained {
  readonly views: ReadonlyMap<number, Static<typeof ExplanationSchema>>;
  readonly milliseconds: number;
}

/**
 * What a request asks for; undefined when it asks for no explanation.
 *
 * @param most words where it names no number
 */
export function explainOptions(explain: ClassifyRequest['explain'], most: number): ExplainOptions | undefined {
  if (explain === undefined || explain === false) return undefined;
  const { words = most, offsets = DEFAULTS.offsets } = explain === true ? {} : explain;
  return { words, offsets };
}

/** @throws EngineError whose index is that of a text */
export async function explainAnswers(
  explain: Explain,
  answered: { readonly model: ServedModel; readonly results: readonly TextOutcome[] },
  texts: readonly string[],
  { words, offsets }: ExplainOptions,
  patience: { readonly signal: AbortSignal; readonly timeoutMs?: number | undefined },
): Promise<Explained> {
  const begun = performance.now();
  const subjects = answered.results.flatMap((result, index) =>
    result instanceof EngineError ? [] : [{ result, index, text: texts[index] as string }],
  );
  const explanations = await explain({ model: answered.model, texts: subjects, words, ...patience });
  const views = explanations.map((explanation, i) => {
    const { index, text } = subjects[i] as (typeof subjects)[number];
    return [index, explanationView(text, explanation, offsets)] as const;
  });
  return { views: new Map(views), milliseconds: performance.now() - begun };
}

/** @param explanation with positions in UTF-16 code units of `text` */
function explanationView(
  text: string,
  { passage, offensive, spans, words, variants, tokens }: Explanation,
  offsets: ExplainOptions['offsets'],
): Static<typeof ExplanationSchema> {
  const place = offsets === 'utf16' ? ({ begin, end }: Span) => ({ begin, end }) : codePointsOf(text);
  return {
    offsets,
    passage: place(passage),
    offensive,
    spans: spans.map((span) => ({ ...place(span), contribution: span.contribution })),
    words,
    variants,
    tokens,
  };
}

/** The same positions in code points. */
function codePointsOf(text: string): (span: Span) => Span {
  const counts = new Uint32Array(text.length + 1);
  for (let at = 0; at < text.length; at += 1) {
    const secondOfPair = /[\udc00-\udfff]/.test(text.charAt(at));
    counts[at + 1] = (counts[at] as number) + (secondOfPair ? 0 : 1);
  }
  return ({ begin, end }) => ({ begin: counts[begin] as number, end: counts[end] as number });
}
