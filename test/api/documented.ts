/** Whether an answer is what openapi/openapi.json says it is: status, media type, schema, and the code of a problem. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { Compile } from 'typebox/schema';

interface Media {
  readonly schema: object;
  readonly examples?: Readonly<Record<string, unknown>>;
}
interface Operation {
  readonly responses: Readonly<Record<string, { readonly content: Readonly<Record<string, Media>> }>>;
}
export interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

export const openapi = JSON.parse(
  readFileSync(new URL('../../openapi/openapi.json', import.meta.url), 'utf8'),
) as OpenApi;

interface Answer {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

/** Compiling takes longer than checking an answer, and generated tests check hundreds. */
const compiled = new WeakMap<object, ReturnType<typeof Compile>>();

/** @param schema may refer to the document's components */
export function violations(schema: object, value: unknown): string[] {
  const known = compiled.get(schema) ?? Compile({ components: openapi.components, ...schema });
  compiled.set(schema, known);
  const [, errors] = known.Errors(value);
  return errors.map(({ instancePath, message }) => `${instancePath} ${message}`);
}

/** @returns the body, parsed where it is JSON */
export function assertDocumented(answer: Answer, method: string, path: string): unknown {
  const response = openapi.paths[path]?.[method.toLowerCase()]?.responses[answer.statusCode];
  assert.ok(response, `${method} ${path} does not document ${answer.statusCode}: ${answer.body}`);
  const type = String(answer.headers['content-type']).split(';')[0] as string;
  const media = response.content[type];
  assert.ok(media, `${method} ${path} ${answer.statusCode} does not document ${type}`);
  const body: unknown = type.endsWith('json') ? JSON.parse(answer.body) : answer.body;
  assert.deepEqual(violations(media.schema, body), [], answer.body);
  if (type === 'application/problem+json') {
    const { code } = body as { code: string };
    assert.ok(media.examples?.[code], `${method} ${path} ${answer.statusCode} does not document ${code}`);
  }
  return body;
}
