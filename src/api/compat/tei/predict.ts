/** `POST /predict`, `/` and `/invocations`: three names of one route. Answers with the default model; texts are never cut. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { type Static, Type } from 'typebox';

import { codePoints } from '../../code-points.ts';
import { refer } from '../../named-schema.ts';
import { Problem } from '../../problems.ts';
import { type Classified, classify } from '../classified.ts';
import { bodyProblem, CLASSIFICATION_PROBLEMS, errorResponses, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { Predictions, predictions } from './predictions.ts';
import { TeiErrorSchema, teiError } from './tei-error.ts';

/** Of its own, of the Inference API, of SageMaker. */
const PATHS = [
  ['/predict', 'teiPredict'],
  ['/', 'teiRoot'],
  ['/invocations', 'teiInvocations'],
] as const;

const INPUTS = '`inputs` must be a text, or a batch of texts as [["first"], ["second"]].';
const EXPECTED = {
  inputs: INPUTS,
  truncate: '`truncate` must be true or false.',
  truncation_direction: '`truncation_direction` must be `left` or `right`.',
  raw_scores: '`raw_scores` must be true or false.',
};

function requestSchema({ maxTexts, maxTextChars }: CompatOptions['config']) {
  const text = Type.String({ maxLength: maxTextChars });
  return Type.Object(
    {
      inputs: Type.Union(
        [
          text,
          Type.Array(text, { minItems: 1 }),
          Type.Array(Type.Array(text, { minItems: 1 }), { minItems: 1, maxItems: maxTexts }),
        ],
        {
          description: 'A text, or a batch as `[["first"], ["second"]]`. `["a", "b"]` is a pair, which is refused',
        },
      ),
      truncate: Type.Optional(
        Type.Union([Type.Boolean(), Type.Null()], { description: 'Without effect: a long text is read in windows' }),
      ),
      truncation_direction: Type.Optional(
        Type.Enum(['left', 'right', 'Left', 'Right'], { description: 'Without effect' }),
      ),
      raw_scores: Type.Optional(
        Type.Boolean({ default: false, description: 'Logarithms of the probabilities, whose softmax they are' }),
      ),
    },
    { $id: 'TeiPredictRequest', examples: [{ inputs: 'Have a lovely day, everyone.', truncate: true }] },
  );
}

type PredictRequest = Static<ReturnType<typeof requestSchema>>;

export const predictRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, options) => {
  const schema = requestSchema(options.config);
  app.addSchema(schema);

  for (const [path, operationId] of PATHS) {
    app.post(
      path,
      {
        schema: {
          operationId,
          tags: ['text-embeddings-inference'],
          summary: 'Classify as text-embeddings-inference does',
          body: refer(schema),
          response: {
            200: {
              description: 'Predictions: a list for one text, a list of lists for a batch',
              headers: TIMING_HEADERS,
              content: { [JSON_TYPE]: { schema: Type.Union([Predictions, Type.Array(Predictions)]) } },
            },
            ...errorResponses(teiError, TeiErrorSchema, CLASSIFICATION_PROBLEMS),
          },
        },
        schemaErrorFormatter: bodyProblem(EXPECTED),
      },
      async (request, reply) => {
        const { inputs, raw_scores: raw = false } = request.body;
        const { texts, batch } = textsOf(inputs);
        const pointTo = (index: number) => (batch ? `/inputs/${index}` : '/inputs');
        const found = await classify(options, request, reply, { texts, pointTo });
        if (found === undefined) return;
        reply.headers(timingHeaders(found, texts, reply.elapsedTime));
        const lists = found.results.map((result) => predictions(found.model, result, raw));
        return batch ? lists : lists[0];
      },
    );
  }
};

/**
 * A pair is refused rather than joined: the model has never read two texts as one, and whoever meant a batch would get one
 * answer for two texts without a word.
 *
 * @throws Problem
 */
function textsOf(inputs: PredictRequest['inputs']): { texts: readonly string[]; batch: boolean } {
  if (typeof inputs === 'string') return { texts: [inputs], batch: false };
  if (inputs.every((entry) => typeof entry === 'string')) return { texts: [single(inputs, '/inputs')], batch: false };
  return { texts: inputs.map((entry, index) => single(entry as string[], `/inputs/${index}`)), batch: true };
}

function single(texts: readonly string[], pointer: string): string {
  if (texts.length === 1) return texts[0] as string;
  const detail = `This model reads no pairs of texts. ${INPUTS}`;
  throw new Problem('invalid_body', { detail, pointer });
}

const MILLISECONDS = { type: 'string', description: 'Whole milliseconds' };
const TIMING_HEADERS = {
  'x-compute-type': { type: 'string', description: 'What ran the model: `cpu` or `cuda`' },
  'x-compute-characters': { type: 'string', description: 'Unicode code points' },
  'x-compute-tokens': { type: 'string', description: 'Tokens, special ones included' },
  'x-compute-time': MILLISECONDS,
  'x-total-time': MILLISECONDS,
  'x-tokenization-time': MILLISECONDS,
  'x-queue-time': MILLISECONDS,
  'x-inference-time': MILLISECONDS,
};

function timingHeaders(
  { model, results, timing }: Classified,
  texts: readonly string[],
  elapsedMs: number,
): Record<keyof typeof TIMING_HEADERS, string> {
  const whole = (value: number) => String(Math.trunc(value));
  return {
    'x-compute-type': model.executionProvider,
    'x-compute-characters': String(texts.reduce((sum, text) => sum + codePoints(text), 0)),
    'x-compute-tokens': String(results.reduce((sum, { tokens }) => sum + tokens, 0)),
    'x-compute-time': whole(elapsedMs),
    'x-total-time': whole(elapsedMs),
    'x-tokenization-time': whole(timing.tokenizeMs),
    'x-queue-time': whole(timing.queueMs),
    'x-inference-time': whole(timing.inferenceMs),
  };
}
