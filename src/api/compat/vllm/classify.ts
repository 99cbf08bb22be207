/**
 * `POST /classify` with `input` (vllm/entrypoints/pooling/classify/protocol.py): the path is that of the native route, and a
 * body is vLLM's when it has `input` or `messages` and neither `text` nor `texts`.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';

import { refer } from '../../named-schema.ts';
import { Problem } from '../../problems.ts';
import type { SecondForm } from '../../second-form.ts';
import { type Classified, classify, logProbability } from '../classified.ts';
import { bodyProblem, CLASSIFICATION_PROBLEMS, errorResponses, JSON_TYPE, sendForeign } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { VllmErrorSchema, vllmError } from './vllm-error.ts';

const EXPECTED = {
  input: '`input` must be a text or a list of texts; token ids are not taken.',
  model: '`model` must be the name of a served model.',
  use_activation: '`use_activation` must be true or false.',
  activation: '`activation` must be true or false.',
};

const Nullable = Type.Union([Type.Boolean(), Type.Null()], {
  description: '`false` gives logarithms of the probabilities, whose softmax they are',
});

function requestSchema({ maxTexts, maxTextChars }: CompatOptions['config']) {
  const text = Type.String({ maxLength: maxTextChars });
  return Type.Object(
    {
      input: Type.Union([text, Type.Array(text, { minItems: 1, maxItems: maxTexts })], {
        description: 'A text or several',
      }),
      model: Type.Optional(
        Type.Union([Type.String(), Type.Null()], {
          description: 'Name, alias or `name@version`; the default model if absent',
        }),
      ),
      use_activation: Type.Optional(Nullable),
      activation: Type.Optional(Nullable),
    },
    { $id: 'VllmClassifyRequest', examples: [{ input: ['Thanks for the quick answer.', 'See you tomorrow.'] }] },
  );
}

type VllmRequest = Static<ReturnType<typeof requestSchema>>;

const ResponseSchema = Type.Object(
  {
    id: Type.String({ description: '`classify-` and the request id' }),
    object: Type.Enum(['list']),
    created: Type.Integer({ description: 'Seconds since 1970' }),
    model: Type.String(),
    data: Type.Array(
      Type.Object({
        index: Type.Integer(),
        label: Type.String({ description: 'The most probable class' }),
        probs: Type.Array(Type.Number(), { description: 'In the order of the model’s labels, see `GET /models`' }),
        num_classes: Type.Integer(),
      }),
    ),
    usage: Type.Object({
      prompt_tokens: Type.Integer(),
      total_tokens: Type.Integer(),
      completion_tokens: Type.Integer(),
      prompt_tokens_details: Type.Null(),
    }),
  },
  { $id: 'VllmClassifyResponse' },
);

export function vllmForm(options: CompatOptions): SecondForm {
  const schema = requestSchema(options.config);
  // One object: Fastify keeps a compiled validator for each object that it is asked for.
  const reference = refer(schema);
  const toProblem = bodyProblem(EXPECTED);

  async function respond(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const validate = request.compileValidationSchema(reference);
    if ('messages' in (request.body as object) && !('input' in (request.body as object))) {
      throw new Problem('invalid_body', { detail: 'Send `input`; `messages` are not taken.', pointer: '/messages' });
    }
    if (!validate(request.body)) throw toProblem(validate.errors ?? []);
    const { input, model, use_activation, activation } = request.body as VllmRequest;
    const texts = typeof input === 'string' ? [input] : input;
    const pointTo = (index: number) => (typeof input === 'string' ? '/input' : `/input/${index}`);
    const found = await classify(options, request, reply, { model: model ?? undefined, texts, pointTo });
    if (found === undefined) return;
    const body = response(found, (use_activation ?? activation) === false, request.id);
    // As bytes: the serialiser of this path knows the native answer only.
    return reply.type(JSON_TYPE).send(Buffer.from(JSON.stringify(body)));
  }

  return {
    method: 'POST',
    url: '/classify',
    description: 'A body with `input` instead of `text` or `texts` is understood, and answered, as by vLLM.',
    matches: (body) =>
      typeof body === 'object' &&
      body !== null &&
      ('input' in body || 'messages' in body) &&
      !('text' in body || 'texts' in body),
    request: schema,
    schemas: [ResponseSchema, VllmErrorSchema],
    responses: {
      200: {
        description: 'vLLM: one item a text, in order',
        content: { [JSON_TYPE]: { schema: refer(ResponseSchema) } },
      },
      ...errorResponses(vllmError, VllmErrorSchema, AFTER_PARSING),
    },
    answer: (request, reply) =>
      respond(request, reply).catch((error: unknown) => sendForeign(error, vllmError, request, reply)),
  };
}

/** What cannot be read has no form yet, and is answered natively. */
const BEFORE_PARSING: ReadonlySet<string> = new Set([
  'invalid_json',
  'invalid_utf8',
  'body_too_large',
  'unsupported_media_type',
]);
const AFTER_PARSING = CLASSIFICATION_PROBLEMS.filter((code) => !BEFORE_PARSING.has(code));

function response({ model, results }: Classified, raw: boolean, requestId: string): Static<typeof ResponseSchema> {
  const tokens = results.reduce((sum, result) => sum + result.tokens, 0);
  return {
    id: `classify-${requestId}`,
    object: 'list',
    created: Math.trunc(Date.now() / 1_000),
    model: model.name,
    data: results.map(({ label, probabilities, exact }, index) => ({
      index,
      label,
      probs: [...(raw ? exact.probabilities.map(logProbability) : probabilities)],
      num_classes: probabilities.length,
    })),
    usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null },
  };
}
