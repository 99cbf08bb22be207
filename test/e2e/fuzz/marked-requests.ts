/**
 * Requests that carry values in every place that a client can fill: paths, queries, headers, each field of each body, and
 * bodies that are wrong in every way. Made from the OpenAPI document, so a new route is among them without a word here.
 */
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';

interface Schema {
  readonly $ref?: string;
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly examples?: readonly object[];
}
interface Operation {
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: Schema } } };
}
export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

export interface MarkedRequest {
  readonly method: string;
  /** As it stands in the request line. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export interface Marks {
  /** Stands in all of the below, and nowhere else. */
  readonly mark: string;
  /** What stands in the place of names and texts. */
  readonly values: readonly string[];
  readonly adminKey: string;
  readonly bodyLimitBytes: number;
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** What documents do not say, because it is refused. */
const REFUSED: Readonly<Record<string, (value: string) => object>> = {
  '/v1/moderations': (url) => ({ input: [{ type: 'image_url', image_url: { url } }] }),
  '/v2/repository/models/{model}/load': (value) => ({ parameters: { config: value, [`file:${value}`]: value } }),
  '/v2/models/{model}/infer': (value) => ({
    id: value,
    inputs: [{ name: value, shape: [1], datatype: 'BYTES', parameters: { shared_memory_region: value } }],
    outputs: [{ name: value, parameters: { shared_memory_region: value } }],
  }),
};

export function* markedRequests(document: Document, marks: Marks): Generator<MarkedRequest> {
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const schema = operation.requestBody?.content['application/json'].schema;
      yield* ofOperation(method.toUpperCase(), path, schema === undefined ? [] : bodiesOf(document, schema), marks);
    }
  }
}

function* ofOperation(method: string, path: string, bodies: readonly Body[], marks: Marks): Generator<MarkedRequest> {
  const { mark, values, adminKey } = marks;
  const wrong = wrongHeaders(mark);
  const key = { 'x-api-key': adminKey, authorization: `Bearer ${adminKey}`, 'x-goog-api-key': adminKey };
  const there = fill(path, 'tiny');
  for (const value of values) {
    const address = `${fill(path, value)}?key=${adminKey}&${encodeURIComponent(value)}=${encodeURIComponent(value)}`;
    for (const target of [address, fill(path, value)]) {
      yield { method, path: target, headers: { ...wrong, ...key } };
      yield { method, path: target, headers: wrong };
    }
    for (const { fields, example } of bodies) {
      const refused = REFUSED[path]?.(value);
      const filled = [...fields.map((field) => ({ ...example, [field]: value })), ...(refused ? [refused] : [])];
      for (const body of [everyString(example, value), ...filled, { ...example, [value]: value }, [value], value]) {
        yield { method, path: there, headers: { ...wrong, ...key, ...JSON_TYPE }, body: JSON.stringify(body) };
      }
    }
  }
  for (const headers of [{ 'x-request-timeout-ms': mark }, { host: `${mark}.example:1` }, { 'content-type': mark }]) {
    yield { method, path: there, headers: { ...wrong, ...key, ...headers }, body: JSON.stringify({ text: mark }) };
  }
  for (const [headers, body] of brokenBodies(marks)) {
    yield { method, path: there, headers: { ...wrong, ...key, ...headers }, body };
  }
  for (const other of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'].filter((one) => one !== method)) {
    yield { method: other, path: `${fill(path, mark)}?${mark}`, headers: { ...wrong, ...JSON_TYPE } };
  }
}

/** Everything that proxies and browsers add, and keys that are none. */
function wrongHeaders(mark: string): Record<string, string> {
  return {
    authorization: `Bearer ${mark}`,
    'x-api-key': mark,
    'x-goog-api-key': mark,
    cookie: `session=${mark}`,
    'user-agent': mark,
    referer: `http://${mark}.example/`,
    origin: `http://${mark}.example`,
    forwarded: `for=${mark};host=${mark}`,
    'x-forwarded-for': mark,
    'x-forwarded-host': mark,
    traceparent: mark,
    tracestate: `vendor=${mark}`,
    baggage: `text=${mark}`,
    // Not of the form that is taken over into the log.
    'x-request-id': `${mark} ${mark}`,
  };
}

function brokenBodies({ mark, bodyLimitBytes }: Marks): [headers: Record<string, string>, body: string | Buffer][] {
  const whole = JSON.stringify({ text: mark });
  const latin1 = Buffer.from(`{"text":"${mark} caf\u00e9"}`, 'latin1');
  return [
    [JSON_TYPE, whole.slice(0, -1)],
    [JSON_TYPE, mark],
    [JSON_TYPE, latin1],
    [JSON_TYPE, JSON.stringify({ text: mark.repeat(bodyLimitBytes / mark.length + 1) })],
    [JSON_TYPE, `{"text":"${mark} \\ud800"}`],
    [JSON_TYPE, `{"__proto__":{"${mark}":"${mark}"},"constructor":{"prototype":{"${mark}":1}}}`],
    [{ 'content-type': `text/${mark}; charset=${mark}` }, whole],
    [{ 'content-type': `application/json; charset=${mark}` }, whole],
    [{ ...JSON_TYPE, 'content-encoding': mark }, whole],
    [{ ...JSON_TYPE, 'content-encoding': 'constructor' }, whole],
    [{ ...JSON_TYPE, 'content-encoding': 'gzip' }, whole],
    [{ ...JSON_TYPE, 'content-encoding': 'gzip' }, gzipSync(whole).subarray(0, -4)],
    [{ ...JSON_TYPE, 'inference-header-content-length': mark }, whole],
    [{ ...JSON_TYPE, 'inference-header-content-length': '5' }, whole],
    [JSON_TYPE, Buffer.concat([Buffer.from(mark), randomBytes(64)])],
  ];
}

interface Body {
  /** Right as it is. */
  readonly example: object;
  readonly fields: readonly string[];
}

function bodiesOf(document: Document, schema: Schema): Body[] {
  if (schema.anyOf !== undefined) return schema.anyOf.flatMap((branch) => bodiesOf(document, branch));
  const { properties, examples = [{}] } =
    schema.$ref === undefined
      ? schema
      : (document.components.schemas[schema.$ref.split('/').at(-1) as string] as Schema);
  if (properties === undefined) return [];
  return examples.map((example) => ({ example, fields: Object.keys(properties) }));
}

function fill(path: string, value: string): string {
  return path.replaceAll(/\{\w+\}/g, encodeURIComponent(value));
}

/** The same with another text in the place of each. */
function everyString(value: unknown, text: string): unknown {
  if (typeof value === 'string') return text;
  if (Array.isArray(value)) return value.map((item) => everyString(item, text));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, everyString(inner, text)]));
}
