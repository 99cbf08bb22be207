/** The body of `POST /v1/moderations`. */
import { type Static, Type } from 'typebox';

import type { Engine } from '../../../engine/types.ts';
import { codePoints } from '../../code-points.ts';
import { Problem } from '../../problems.ts';

const closed = { additionalProperties: false };

export function moderationRequestSchema({ maxTexts, maxTextChars }: { maxTexts: number; maxTextChars: number }) {
  const text = Type.String({ maxLength: maxTextChars });
  const TextPart = Type.Object({ type: Type.Literal('text'), text }, closed);
  const ImagePart = Type.Object(
    { type: Type.Literal('image_url'), image_url: Type.Object({ url: Type.String() }) },
    { ...closed, description: 'Refused: the models read text' },
  );
  return Type.Object(
    {
      input: Type.Union(
        [
          text,
          Type.Array(text, { minItems: 1, maxItems: maxTexts }),
          Type.Array(Type.Union([TextPart, ImagePart]), { minItems: 1, maxItems: maxTexts }),
        ],
        { description: 'One text, several texts, or the parts of one text' },
      ),
      model: Type.Optional(
        Type.Union([Type.String(), Type.Null()], {
          description: 'Name of a served model; the default model if absent, or for a name that OpenAI gives its own',
        }),
      ),
    },
    {
      $id: 'ModerationRequest',
      ...closed,
      examples: [{ input: ['Have a lovely day, everyone.', 'See you tomorrow.'] }],
    },
  );
}

export type ModerationRequest = Static<ReturnType<typeof moderationRequestSchema>>;

/** omni-moderation-latest, text-moderation-stable, text-moderation-007, … */
const OPENAI_MODEL = /^(?:omni|text)-moderation-[a-z0-9-]{1,32}$/;

/** @returns the reference that the engine is asked for; undefined for the default model */
export function modelReference(model: string | null | undefined, engine: Engine): string | undefined {
  if (model === null || model === undefined) return undefined;
  // An operator may have given one of OpenAI's names to a model.
  return engine.find(model) === undefined && OPENAI_MODEL.test(model) ? undefined : model;
}

/**
 * The texts to answer, one result each. Parts belong together: they are one text, a line each.
 *
 * @throws Problem for images, and for parts that are too long together
 */
export function textsOf(input: ModerationRequest['input'], maxTextChars: number): string[] {
  if (typeof input === 'string') return [input];
  const parts = input.map((item, position) => {
    if (typeof item === 'string') return item;
    if (item.type === 'text') return item.text;
    throw new Problem('invalid_option', {
      pointer: `/input/${position}`,
      detail: 'Images are not supported by this model. Send text only.',
    });
  });
  if (typeof input[0] === 'string') return parts;
  const text = parts.join('\n');
  if (codePoints(text) > maxTextChars) {
    const detail = `A text may have at most ${maxTextChars} characters, its parts together.`;
    throw new Problem('text_too_long', { pointer: '/input', detail });
  }
  return [text];
}
