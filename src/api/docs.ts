/** The OpenAPI document of all routes, and `GET /docs`: a page to read and try it, without any request elsewhere. */
import swagger, { type SwaggerTransformObject } from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance, FastifySchema } from 'fastify';

import { type RouteScope, scopeOf, scopeRoutes } from './access/guard.ts';
import type { KeyRing } from './access/key-ring.ts';

import { documentSecondForm } from './second-form.ts';

type OpenApiDocument = Extract<Parameters<SwaggerTransformObject>[0], { openapiObject: unknown }>['openapiObject'];

/** The page's styles are inline; everything else comes from this origin or not at all. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');

/** Must be registered before the routes it is to document. */
export async function documentRoutes(app: FastifyInstance, version: string, keys: KeyRing): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'DS-LoRA classification',
        version,
        description:
          'Class probabilities and gate values of texts. Errors are RFC 9457 problem documents with a stable `code`.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: [{ url: '/' }],
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer' },
          apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
          googleKey: { type: 'apiKey', in: 'header', name: 'x-goog-api-key' },
          googleQueryKey: { type: 'apiKey', in: 'query', name: 'key' },
        },
      },
      tags: [
        { name: 'classification', description: 'Texts in, classes and gates out' },
        { name: 'text-embeddings-inference', description: 'Requests and answers of text-embeddings-inference' },
        { name: 'vLLM', description: 'Requests and answers of vLLM; `POST /classify` takes them too' },
        { name: 'KServe', description: 'The Open Inference Protocol (KServe v2), with extensions of Triton' },
        { name: 'perspective', description: 'The Comment Analyzer API of Perspective; errors in the shape of Google' },
        { name: 'openai', description: 'The moderation endpoint of OpenAI; errors in its shape' },
        { name: 'administration', description: 'Which models serve; needs a key with the scope `admin`' },
        { name: 'operation', description: 'For load balancers and monitoring' },
      ],
    },
    transform: ({ schema, url, route: { config } }) => ({
      schema: documentAccess(documentSecondForm(schema, config?.secondForm), scopeOf(config), config?.googleKeys, keys),
      url,
    }),
    transformObject: (document) =>
      'openapiObject' in document ? allowAbsentBodies(document.openapiObject) : document.swaggerObject,
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json.$id ?? `schema-${index}`) },
  });
  await app.register(async (pages) => {
    scopeRoutes(pages, 'open');
    await pages.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: CONTENT_SECURITY_POLICY,
      uiConfig: { deepLinking: true, tryItOutEnabled: true },
    });
  });
}

/** Which keys a route takes, and which of the answers about keys and limits it never gives. */
function documentAccess(
  schema: FastifySchema,
  scope: RouteScope,
  googleKeys: true | undefined,
  keys: KeyRing,
): FastifySchema {
  const response = { ...(schema?.response as Record<string, unknown> | undefined) };
  if (scope === 'open') {
    for (const status of ['401', '403', '429']) delete response[status];
    return { ...schema, response, security: [] };
  }
  if (scope !== 'classify') delete response['429'];
  const places = [...(googleKeys ? ['googleQueryKey', 'googleKey'] : []), 'bearer', 'apiKey'];
  const security = [...(keys.required(scope) ? [] : [{}]), ...places.map((place) => ({ [place]: [scope] }))];
  return { ...schema, response, security };
}

/** Fastify hands on a body that is absent as null, so a body that may be null may be absent; its plugin asks for all. */
function allowAbsentBodies(document: OpenApiDocument): OpenApiDocument {
  for (const path of Object.values(document.paths ?? {})) {
    for (const method of ['post', 'put', 'patch', 'delete'] as const) {
      const body = path?.[method]?.requestBody;
      if (body === undefined || '$ref' in body) continue;
      const optional = Object.values(body.content).some(({ schema }) => acceptsNull(schema));
      if (optional) body.required = false;
    }
  }
  return document;
}

function acceptsNull(schema: object | undefined): boolean {
  const alternatives = (schema as { anyOf?: readonly { type?: unknown }[] } | undefined)?.anyOf ?? [];
  return alternatives.some(({ type }) => type === 'null');
}
