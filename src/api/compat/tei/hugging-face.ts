/**
 * The Inference API of Hugging Face for text classification: what its clients `huggingface_hub` and `@huggingface/inference`
 * send to `…/models/NAME`. Answers are nested one level deeper than those of text-embeddings-inference, on whose routes
 * these clients see one class only, or an error.
 */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import { refer } from '../../named-schema.ts';
import { classify } from '../classified.ts';
import { bodyProblem, CLASSIFICATION_PROBLEMS, errorResponses, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { Predictions, predictions } from './predictions.ts';
import { TeiErrorSchema, teiError } from './tei-error.ts';

const EXPECTED = {
  inputs: '`inputs` must be a text or a list of texts.',
  parameters:
    '`parameters` must be an object with `top_k`, a whole number from 1, and `function_to_apply`, `softmax` or `none`.',
};

function requestSchema({ maxTexts, maxTextChars }: CompatOptions['config']) {
  const text = Type.String({ maxLength: maxTextChars });
  return Type.Object(
    {
      inputs: Type.Union([text, Type.Array(text, { minItems: 1, maxItems: maxTexts })]),
      parameters: Type.Optional(
        Type.Union([
          Type.Object({
            top_k: Type.Optional(
              Type.Union([Type.Integer({ minimum: 1 }), Type.Null()], { description: 'Most classes in a list' }),
            ),
            function_to_apply: Type.Optional(
              Type.Union([Type.Enum(['softmax', 'none']), Type.Null()], {
                description: '`none` gives logarithms of the probabilities, whose softmax they are',
              }),
            ),
          }),
          Type.Null(),
        ]),
      ),
    },
    { $id: 'HuggingFaceRequest', examples: [{ inputs: 'Have a lovely day, everyone.', parameters: { top_k: 1 } }] },
  );
}

export const huggingFaceRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, options) => {
  const schema = requestSchema(options.config);
  app.addSchema(schema);

  app.post(
    '/models/:model',
    {
      schema: {
        operationId: 'huggingFaceTextClassification',
        tags: ['text-embeddings-inference'],
        summary: 'Classify as the Inference API of Hugging Face does',
        params: Type.Object({ model: Type.String({ description: 'Name, alias or `name@version`' }) }),
        body: refer(schema),
        response: {
          200: {
            description: 'One list of classes a text, most probable first',
            content: { [JSON_TYPE]: { schema: Type.Array(Predictions) } },
          },
          ...errorResponses(teiError, TeiErrorSchema, CLASSIFICATION_PROBLEMS),
        },
      },
      schemaErrorFormatter: bodyProblem(EXPECTED),
    },
    async (request, reply) => {
      const { inputs, parameters } = request.body;
      const texts = typeof inputs === 'string' ? [inputs] : inputs;
      const pointTo = (index: number) => (typeof inputs === 'string' ? '/inputs' : `/inputs/${index}`);
      const found = await classify(options, request, reply, { model: request.params.model, texts, pointTo });
      if (found === undefined) return;
      const raw = parameters?.function_to_apply === 'none';
      return found.results.map((result) =>
        predictions(found.model, result, raw).slice(0, parameters?.top_k ?? undefined),
      );
    },
  );
};
