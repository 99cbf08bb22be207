/**
 * Google's API clients learn an API from its discovery document: `GET /$discovery/rest?version=v1alpha1`. This one says
 * that the API is here. Without `auth`, so that clients do not look for credentials of Google.
 */
import type { FastifyRequest } from 'fastify';

import { Problem } from '../../problems.ts';
import { MESSAGES, NAMESPACE } from './messages.ts';

/** Name of a host and a port, nothing else: it is repeated in the answer. */
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;

/**
 * @param publicUrl where clients reach the service; without it, where this request was sent
 * @returns ends with a slash
 */
export function rootUrl(publicUrl: string | undefined, { protocol, host }: FastifyRequest): string {
  if (publicUrl !== undefined) return publicUrl.endsWith('/') ? publicUrl : `${publicUrl}/`;
  if (!HOST.test(host)) throw new Problem('bad_request', { detail: 'The header Host is not the name of a host.' });
  return `${protocol}://${host}/`;
}

function method(name: string, request: string, response: string, description: string) {
  const path = `v1alpha1/comments:${name}`;
  return {
    id: `commentanalyzer.comments.${name}`,
    path,
    flatPath: path,
    httpMethod: 'POST',
    description,
    parameters: {},
    parameterOrder: [],
    request: { $ref: request },
    response: { $ref: response },
  };
}

const FORMATS: Readonly<Record<string, string>> = { number: 'float', integer: 'int32' };

const parameter = (description: string) => ({ location: 'query', type: 'string', description });

/** What does not depend on where the service is. */
const DOCUMENT = {
  kind: 'discovery#restDescription',
  discoveryVersion: 'v1',
  id: 'commentanalyzer:v1alpha1',
  name: 'commentanalyzer',
  version: 'v1alpha1',
  title: 'Comment Analyzer API, answered by DS-LoRA classification',
  description: 'Scores comments as Perspective did.',
  protocol: 'rest',
  servicePath: '',
  basePath: '',
  batchPath: 'batch',
  parameters: {
    alt: { ...parameter('Only JSON is answered'), enum: ['json'], default: 'json' },
    fields: parameter('Without effect'),
    key: parameter('The key, where one is needed'),
    prettyPrint: { ...parameter('Without effect'), type: 'boolean' },
    quotaUser: parameter('Without effect'),
  },
  resources: {
    comments: {
      methods: {
        analyze: method('analyze', 'AnalyzeCommentRequest', 'AnalyzeCommentResponse', 'Scores a comment.'),
        suggestscore: method(
          'suggestscore',
          'SuggestCommentScoreRequest',
          'SuggestCommentScoreResponse',
          'Keeps the scores that a comment should have had.',
        ),
      },
    },
  },
  schemas: Object.fromEntries(MESSAGES.map((schema) => [localName(schema.$id), discoverySchema(schema as object)])),
};

export function discoveryDocument(root: string) {
  return { ...DOCUMENT, rootUrl: root, baseUrl: root };
}

/** `commentanalyzer.Score#` -> Score */
function localName(id: string): string {
  return id.slice(NAMESPACE.length).replace('#', '');
}

interface JsonSchema {
  readonly $id?: string;
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
}

/** Discovery documents have a dialect of an old JSON Schema. */
function discoverySchema(schema: JsonSchema): object {
  if (schema.$ref !== undefined) return { $ref: localName(schema.$ref) };
  const { $id, type = 'string', enum: values, description, properties, additionalProperties, items } = schema;
  return {
    ...($id === undefined ? {} : { id: localName($id) }),
    type,
    ...(FORMATS[type] === undefined ? {} : { format: FORMATS[type] }),
    ...(description === undefined ? {} : { description }),
    ...(values === undefined ? {} : { enum: values, enumDescriptions: values.map(() => '') }),
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(Object.entries(properties).map(([name, own]) => [name, discoverySchema(own)])),
        }),
    ...(typeof additionalProperties === 'object'
      ? { additionalProperties: discoverySchema(additionalProperties) }
      : {}),
    ...(items === undefined ? {} : { items: discoverySchema(items) }),
  };
}
