/** `GET /models`: what is served, what is not and why. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import { ManifestSchema } from '../bundle/manifest.ts';
import type { Engine, ServedModel } from '../engine/types.ts';
import { refer } from './named-schema.ts';
import { problemResponses } from './problem-responses.ts';
import { validationProblem } from './validation-problem.ts';

const closed = { additionalProperties: false };
const manifest = ManifestSchema.properties;

const ModelSchema = Type.Object(
  {
    name: manifest.name,
    version: manifest.version,
    default: Type.Boolean({ description: 'Whether it answers when a request names no model' }),
    current: Type.Boolean({ description: 'Whether its name alone means this version' }),
    aliases: Type.Array(Type.String(), { description: 'Other names that mean this version' }),
    folder: Type.String({ description: 'Where it is in MODELS_DIR' }),
    digest: Type.String({
      description: 'First 12 digits of the SHA-256 of its manifest, which names every other file',
    }),
    description: manifest.description,
    license: manifest.license,
    createdAt: manifest.createdAt,
    base: manifest.base,
    method: manifest.method,
    languages: manifest.languages,
    labels: manifest.labels,
    positiveLabels: Type.Array(Type.String(), { description: 'The classes that mean offensive' }),
    thresholds: manifest.thresholds,
    maxTokens: Type.Integer({ description: 'What the model reads at once; longer texts are read in windows' }),
    gates: manifest.gates,
    executionProvider: Type.Enum(['cpu', 'cuda'], { description: 'What really runs it' }),
    precision: Type.String(),
    evaluation: manifest.evaluation,
  },
  { $id: 'Model', ...closed },
);

const ModelsSchema = Type.Object(
  {
    models: Type.Array(refer(ModelSchema)),
    refused: Type.Array(Type.Object({ folder: Type.String(), reason: Type.String() }, closed), {
      description: 'Folders of MODELS_DIR that are not served',
    }),
  },
  { $id: 'Models', ...closed },
);

export const modelRoutes: FastifyPluginAsyncTypebox<{ readonly engine: Engine }> = async (app, { engine }) => {
  app.addSchema(ModelSchema);
  app.addSchema(ModelsSchema);

  app.get(
    '/models',
    {
      schema: {
        operationId: 'listModels',
        tags: ['classification'],
        summary: 'The models that are served',
        querystring: Type.Object({}, closed),
        response: {
          200: {
            description: 'Served and refused models',
            content: { 'application/json': { schema: refer(ModelsSchema) } },
          },
          ...problemResponses('unknown_option'),
        },
      },
      schemaErrorFormatter: validationProblem,
    },
    async () => {
      const standard = engine.defaultModel();
      const aliases = [...engine.aliases()];
      return {
        models: engine.models().map((model) => ({
          ...describe(model),
          default: model === standard,
          current: engine.find(model.name) === model,
          aliases: aliases.flatMap(([alias, means]) => (means === model ? [alias] : [])),
        })),
        refused: engine.refused().map(({ folder, reason }) => ({ folder, reason })),
      };
    },
  );
};

function describe({ name, version, folder, digest, manifest, executionProvider, graph }: ServedModel) {
  const { description, license, createdAt, base, method, languages, labels, positiveLabels, thresholds, gates } =
    manifest;
  return {
    name,
    version,
    folder,
    digest,
    description,
    license,
    createdAt,
    base,
    method,
    languages,
    labels,
    positiveLabels,
    thresholds,
    maxTokens: manifest.input.maxTokens,
    gates,
    executionProvider,
    precision: precisionOf(manifest.graphs, graph),
    evaluation: manifest.evaluation,
  };
}

function precisionOf(graphs: ServedModel['manifest']['graphs'], file: string): string {
  return graphs.find((graph) => graph.file === file)?.precision ?? 'unknown';
}
