/**
 * Perspective's Comment Analyzer API, v1alpha1: scores of attributes, as its discovery document, its reference and its
 * clients have them. It answers with the default model, since its requests name none.
 */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';

import { EngineError } from '../../../engine/types.ts';
import type { Span } from '../../../moderation/words.ts';
import { acceptGoogleKeys, scopeRoutes } from '../../access/guard.ts';
import { engineProblem } from '../../engine-problem.ts';
import { readJson } from '../../json-body.ts';
import { refer } from '../../named-schema.ts';
import { Problem } from '../../problems.ts';
import { classifyEach } from '../classified.ts';
import { answerErrors, CLASSIFICATION_PROBLEMS, errorResponses, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { analyzeResponse, commentText } from './analyze.ts';
import { scoredAttributes } from './attributes.ts';
import { discoveryDocument, rootUrl } from './discovery.ts';
import { GoogleErrorSchema, GoogleProblem, googleError, googleValidation } from './google-error.ts';
import { languageOf } from './language.ts';
import {
  AnalyzeCommentRequest,
  AnalyzeCommentResponse,
  MESSAGES,
  SuggestCommentScoreRequest,
  SuggestCommentScoreResponse,
} from './messages.ts';
import { fromProtoJson } from './proto-json.ts';
import { sentenceSpans } from './sentences.ts';
import { checkSuggestion, refuseSuggestions } from './suggest.ts';

/** A comment of 20 KB has thousands of sentences at worst. All are scored, but beyond this number neighbours together. */
const MAX_SPANS = 100;

/** A sentence of nothing but punctuation can be so; it has no score then. */
const NOTHING_TO_READ = 'empty_after_normalization';

const TAGS = ['perspective'];

/** Google's clients add parameters of their own; none has an effect but the key. */
const Query = Type.Object({
  key: Type.Optional(Type.String({ description: 'The key, where one is needed; never logged' })),
});

function ok(description: string, schema: Parameters<typeof refer>[0]) {
  return { 200: { description, content: { [JSON_TYPE]: { schema: refer(schema) } } } };
}

export const perspectiveRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, options) => {
  for (const schema of [...MESSAGES, GoogleErrorSchema]) app.addSchema(schema);
  answerErrors(app, googleError);
  acceptGoogleKeys(app);
  readAnyTypeAsJson(app);
  await app.register(commentRoutes, { ...options, prefix: '/v1alpha1' });
  await app.register(discoveryRoutes, { ...options, prefix: '/$discovery' });
};

const commentRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, options) => {
  const { engine, attributes, detectLanguage, feedback, keys } = options;
  answerUnknownPaths(app);
  app.addHook('preValidation', async (request) => {
    request.body = fromProtoJson(request.body);
  });

  app.post(
    '/comments::analyze',
    {
      schema: {
        operationId: 'analyzeComment',
        tags: TAGS,
        summary: 'Score a comment as Perspective does',
        querystring: Query,
        body: refer(AnalyzeCommentRequest),
        response: {
          ...ok('Scores of the requested attributes', AnalyzeCommentResponse),
          ...errorResponses(googleError, GoogleErrorSchema, [...CLASSIFICATION_PROBLEMS, 'not_ready']),
        },
      },
      schemaErrorFormatter: googleValidation,
    },
    async (request, reply) => {
      const { body } = request;
      const text = commentText(body);
      const model = engine.defaultModel();
      if (model === undefined) throw new Problem('not_ready');
      const language = languageOf(text, body.languages, model.manifest, detectLanguage);
      const scored = scoredAttributes(body, model, attributes, language);
      const spans = body.spanAnnotations ? sentenceSpans(text, language.used[0], MAX_SPANS) : [whole(text)];
      // A span that is the whole comment has its score.
      const parts = spans.filter((span) => !isWhole(span, text));
      const texts = [text, ...parts.map(({ begin, end }) => text.slice(begin, end))];
      const pointTo = () => '/comment/text';
      const found = await classifyEach(options, request, reply, {
        model: `${model.name}@${model.version}`,
        texts,
        counted: 1,
        pointTo,
      });
      if (found === undefined) return reply;
      const [summary, ...others] = found.results;
      if (summary === undefined || summary instanceof EngineError) throw engineProblem(summary, pointTo);
      const failed = others.find((other) => other instanceof EngineError && other.code !== NOTHING_TO_READ);
      if (failed !== undefined) throw engineProblem(failed, pointTo);
      const outcomes = new Map(parts.map((span, position) => [span, others[position]]));
      const scores = spans.map((span) => ({ span, outcome: outcomes.get(span) ?? summary }));
      return analyzeResponse(summary, scores, scored, language, body.clientToken);
    },
  );

  const kept = keys.administered ? feedback : undefined;
  app.post(
    '/comments::suggestscore',
    {
      schema: {
        operationId: 'suggestCommentScore',
        tags: TAGS,
        summary: 'Keep the scores that a comment should have had',
        description:
          'Appends a line to FEEDBACK_FILE. Off unless that is set and there can be a key with the scope `admin`.',
        querystring: Query,
        body: refer(SuggestCommentScoreRequest),
        response: {
          ...ok('The suggestion is kept', SuggestCommentScoreResponse),
          ...errorResponses(googleError, GoogleErrorSchema, [...CLASSIFICATION_PROBLEMS, 'not_enabled']),
        },
      },
      schemaErrorFormatter: googleValidation,
      // Where it is off, nobody needs a key to be told so.
      ...(kept === undefined ? { onRequest: refuseSuggestions } : { config: { scope: 'admin' as const } }),
    },
    async (request) => {
      const { body } = request;
      commentText(body);
      checkSuggestion(body);
      const model = engine.defaultModel();
      const record = {
        receivedAt: new Date().toISOString(),
        ...(model === undefined ? {} : { model: `${model.name}@${model.version}` }),
        ...body,
      };
      if (!(await kept?.append(record))) {
        throw new GoogleProblem(
          'overloaded',
          'RESOURCE_EXHAUSTED',
          'No more suggestions are kept: FEEDBACK_FILE is full.',
        );
      }
      const { clientToken, languages } = body;
      return {
        ...(clientToken === undefined ? {} : { clientToken }),
        ...(languages === undefined ? {} : { requestedLanguages: languages }),
      };
    },
  );
};

const discoveryRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, { config }) => {
  scopeRoutes(app, 'open');
  answerUnknownPaths(app);
  app.get(
    '/rest',
    {
      schema: {
        operationId: 'discoverCommentAnalyzer',
        tags: TAGS,
        summary: "What Google's API clients build themselves from",
        querystring: Type.Object({ version: Type.Optional(Type.String({ examples: ['v1alpha1'] })) }),
        response: {
          200: {
            description: 'Discovery document of the Comment Analyzer API',
            content: { [JSON_TYPE]: { schema: Type.Object({ rootUrl: Type.String() }) } },
          },
          ...errorResponses(googleError, GoogleErrorSchema, ['bad_request', 'not_found']),
        },
      },
    },
    async (request, reply) => {
      if (request.query.version !== 'v1alpha1') throw new Problem('not_found');
      // Another client may have sent another Host, so no cache may keep it.
      reply.header('cache-control', 'no-store');
      return discoveryDocument(rootUrl(config.publicUrl, request));
    },
  );
};

/** Google's service reads JSON whatever it is said to be, and its own Python sample says nothing. */
function readAnyTypeAsJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (request: Parameters<typeof readJson>[0], body: Buffer) =>
    readJson(request, body),
  );
}

/** In the protocol's shape too: the hook that finds them throws before this handler. */
function answerUnknownPaths(app: FastifyInstance): void {
  app.setNotFoundHandler(() => {
    throw new Problem('not_found');
  });
}

function whole(text: string): Span {
  return { begin: 0, end: text.length };
}

function isWhole({ begin, end }: Span, text: string): boolean {
  return begin === 0 && end === text.length;
}
