/**
 * A path that takes the requests of two protocols, told apart by what the body holds. The second protocol has its own
 * request, answer and errors; the route that the path belongs to knows nothing of it.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema } from 'fastify';
import { type TSchema, Type } from 'typebox';

import { refer } from './named-schema.ts';

interface Media {
  readonly schema: TSchema;
  readonly examples?: Readonly<Record<string, unknown>>;
}

interface Response {
  readonly description: string;
  readonly content: Readonly<Record<string, Media>>;
}

export interface SecondForm {
  readonly method: string;
  readonly url: string;
  /** Whether a body is meant for this form. */
  matches(body: unknown): boolean;
  /** When this form is understood; a sentence for the OpenAPI document. */
  readonly description: string;
  /** Has an `$id`, as have `schemas`, which `responses` refer to. */
  readonly request: TSchema;
  readonly schemas: readonly TSchema[];
  readonly responses: Readonly<Record<string, Response>>;
  /** Sends an answer or an error, and does not throw. */
  answer(request: FastifyRequest, reply: FastifyReply): Promise<unknown>;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    secondForm?: SecondForm;
  }
}

/** Must be called before the routes of the paths are registered. */
export function addSecondForms(app: FastifyInstance, forms: readonly SecondForm[]): void {
  for (const schema of forms.flatMap(({ request, schemas }) => [request, ...schemas])) app.addSchema(schema);
  app.addHook('onRoute', (route) => {
    const form = forms.find(({ method, url }) => method === route.method && url === route.url);
    if (form === undefined) return;
    route.config = { ...route.config, secondForm: form };
    route.preValidation = [
      route.preValidation ?? [],
      async (request: FastifyRequest, reply: FastifyReply) => {
        if (!form.matches(request.body)) return;
        await form.answer(request, reply);
        return reply;
      },
    ].flat();
  });
}

/** A route's schema as the OpenAPI document shows it: with both forms. */
export function documentSecondForm(schema: FastifySchema, form: SecondForm | undefined): FastifySchema {
  if (form === undefined) return schema;
  const own = schema as Omit<FastifySchema, 'body' | 'response'> & {
    body: TSchema;
    response: Record<string, Response>;
  };
  const statuses = new Set([...Object.keys(own.response), ...Object.keys(form.responses)]);
  return {
    ...own,
    description: [own.description, form.description].join(' '),
    body: Type.Union([own.body, refer(form.request)]),
    response: Object.fromEntries(
      [...statuses].map((status) => [status, eitherResponse(own.response[status], form.responses[status])]),
    ),
  };
}

function eitherResponse(one: Response | undefined, other: Response | undefined): Response | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const types = new Set([...Object.keys(one.content), ...Object.keys(other.content)]);
  return {
    ...other,
    ...one,
    description: [...new Set([one.description, other.description])].join('. '),
    content: Object.fromEntries(
      [...types].map((type) => [type, eitherMedia(one.content[type], other.content[type]) as Media]),
    ),
  };
}

function eitherMedia(one: Media | undefined, other: Media | undefined): Media | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const same = JSON.stringify(one.schema) === JSON.stringify(other.schema);
  return {
    schema: same ? one.schema : Type.Union([one.schema, other.schema]),
    ...((one.examples ?? other.examples) ? { examples: { ...other.examples, ...one.examples } } : {}),
  };
}
