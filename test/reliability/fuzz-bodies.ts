/**
 * 100,000 generated bodies over all routes that take one: no answer of 5xx, none that the OpenAPI document lacks, no
 * crash, no leak.
 *
 *     node test/reliability/fuzz-bodies.ts [--bodies 100000] [--seed 1] [--save FILE]
 *
 * fast-check makes them: any JSON, the route's own field names with any values, the document's own examples with one
 * place changed, and bytes that are no JSON. A small model of random weights answers those that are right. Prints JSON;
 * ends with 1 when something of the above came, or memory grew by more than a tenth from the first fifth to the end.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import fc from 'fast-check';
import { Pool } from 'undici';

import { totalPss } from '../../bench/processes.ts';
import { startService } from '../../bench/service.ts';
import { conclude } from './verdict.ts';

const { values: options } = parseArgs({
  options: {
    bodies: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    save: { type: 'string' },
  },
});
const bodies = Number(options.bodies);
const CONNECTIONS = 16;
const CHUNK = 1_000;
const GROWTH = 0.1;
const FIXTURES = 'test/fixtures';
const CONTENT_TYPES = ['application/json', 'application/json; charset=utf-8', 'text/plain', 'application/octet-stream'];
/** Names in paths, one of which exists. A longer one than a route takes would belong to none. */
const NAMES = ['tiny', 'tiny', 'nothing', '..%2f..%2fetc', 'tiny@1.0.0', '%F0%9F%98%80', 'a'.repeat(64)];
/** Right bodies that the document does not show, by the end of the path. */
const RIGHT: Readonly<Record<string, readonly unknown[]>> = {
  '/classify': [{ text: 'you are kind' }, { texts: ['you are kind', 'an idiot'], explain: true, policy: 'default' }],
  '/v1/moderations': [{ input: ['you are kind', 'you'] }],
  ':analyze': [{ comment: { text: 'you are kind' }, requestedAttributes: { TOXICITY: {} }, languages: ['en'] }],
  ':suggestscore': [
    { comment: { text: 'you are kind' }, attributeScores: { TOXICITY: { summaryScore: { value: 1 } } } },
  ],
  '/predict': [{ inputs: ['you are kind'], truncate: true }],
  '/invocations': [{ inputs: [['you', 'kind']] }],
  '/infer': [{ inputs: [{ name: 'text', datatype: 'BYTES', shape: [2], data: ['you are kind', 'you'] }] }],
};
/** Values that go where texts go: what breaks parsers, and normalisers. */
const AWKWARD = [
  '',
  ' ',
  '\u0000',
  '\ud800',
  '\u200b\u200b',
  '\u202eabc',
  'é'.repeat(50),
  'a b '.repeat(400),
  '"}]{["',
];

interface Operation {
  readonly path: string;
  readonly method: 'POST' | 'PUT';
  readonly statuses: ReadonlySet<string>;
  readonly fields: readonly string[];
  readonly examples: readonly unknown[];
}

interface Request {
  readonly operation: Operation;
  readonly path: string;
  readonly contentType: string;
  readonly body: string | Buffer;
}

const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
process.once('exit', () => rmSync(folder, { recursive: true }));
const service = await startService({
  modelsDir: FIXTURES,
  env: {
    WORKERS: '1',
    ADMIN_KEY: 'of-the-fuzzer',
    LOG_LEVEL: 'error',
    FEEDBACK_FILE: join(folder, 'feedback.jsonl'),
    // A full queue is no fault of the service; here it would only hide others.
    QUEUE_WAIT_MS: '60000',
  },
});
const document = (await (await fetch(`${service.url}/docs/json`)).json()) as { paths: Record<string, Json> };
const operations = operationsOf(document);
const pool = new Pool(service.url, { connections: CONNECTIONS, pipelining: 1 });
const statuses: Record<string, number> = {};
const faults: Record<string, number> = {};
let sent = 0;
let early = 0;
for (let chunk = 0; sent < bodies; chunk++) {
  const requests = fc.sample(arbitraryRequest(), { seed: Number(options.seed) + chunk, numRuns: CHUNK });
  await Promise.all(requests.map(send));
  sent += requests.length;
  if (early === 0 && sent >= bodies / 5) early = totalPss(service.use());
}
const late = totalPss(service.use());
const alive = await fetch(`${service.url}/classify`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ text: 'you are kind' }),
});
await alive.arrayBuffer();
await pool.close();
await service.stop('SIGTERM');

const holds = {
  answers: Object.keys(faults).length === 0,
  alive: alive.status === 200,
  memory: late <= early * (1 + GROWTH),
};
const result = { bodies: sent, operations: operations.length, statuses, faults, pssMiB: { early, late }, holds };
conclude(result, options.save);

async function send({ operation, path, contentType, body }: Request): Promise<void> {
  const { method, statuses: documented } = operation;
  let status = 'no answer';
  try {
    const headers = { 'content-type': contentType, 'x-api-key': 'of-the-fuzzer' };
    const answer = await pool.request({ path, method, headers, body });
    await answer.body.dump();
    status = String(answer.statusCode);
  } catch {
    // Counted below.
  }
  statuses[status] = (statuses[status] ?? 0) + 1;
  if (status < '500' && documented.has(status)) return;
  const fault = `${method} ${path}: ${status}`;
  faults[fault] = (faults[fault] ?? 0) + 1;
}

type Json = { readonly [name: string]: Json };

function operationsOf({ paths }: { paths: Record<string, Json> }): Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    (['post', 'put'] as const).flatMap((method) => {
      const operation = methods[method];
      // Loading and unloading is what other tests are about; it would take the model away.
      if (operation === undefined || /repository\/models|\/admin\/bundles|\/admin\/reload/.test(path)) return [];
      const content = (operation.requestBody?.content?.['application/json'] ?? {}) as Json;
      const fields = new Set<string>();
      const examples: unknown[] = [];
      collect(content, fields, examples);
      for (const [end, right] of Object.entries(RIGHT)) if (path.endsWith(end)) examples.push(...right);
      return [
        {
          path,
          method: method.toUpperCase() as 'POST' | 'PUT',
          statuses: new Set(Object.keys(operation.responses ?? {})),
          fields: [...fields],
          examples,
        },
      ];
    }),
  );
}

/** Names of properties, and examples, wherever they stand in a schema. */
function collect(node: unknown, fields: Set<string>, examples: unknown[]): void {
  if (typeof node !== 'object' || node === null) return;
  for (const [key, value] of Object.entries(node)) {
    if (key === 'properties') for (const name of Object.keys(value as object)) fields.add(name);
    if (key === 'example') examples.push(value);
    if (key === 'examples') {
      for (const own of Object.values(value as object)) examples.push((own as { value?: unknown })?.value ?? own);
    }
    collect(value, fields, examples);
  }
}

function arbitraryRequest(): fc.Arbitrary<Request> {
  return fc.constantFrom(...operations).chain((operation) =>
    fc.record({
      operation: fc.constant(operation),
      path: fc.constantFrom(...NAMES).map((name) => operation.path.replaceAll(/\{\w+\}/g, name)),
      contentType: fc.oneof(
        { weight: 9, arbitrary: fc.constant('application/json') },
        { weight: 1, arbitrary: fc.constantFrom(...CONTENT_TYPES) },
      ),
      body: arbitraryBody(operation),
    }),
  );
}

function arbitraryBody({ fields, examples }: Operation): fc.Arbitrary<string | Buffer> {
  const value = fc.oneof(fc.constantFrom(...AWKWARD), fc.string({ unit: 'grapheme', maxLength: 40 }), fc.jsonValue());
  const named = fields.length === 0 ? fc.jsonValue() : fc.dictionary(fc.constantFrom(...fields), value, { maxKeys: 8 });
  const changed =
    examples.length === 0
      ? named
      : fc
          .tuple(fc.constantFrom(...examples), fc.nat(), value)
          .map(([example, place, other]) => replace(example, place, other));
  return fc.oneof(
    { weight: 2, arbitrary: fc.jsonValue().map((any) => JSON.stringify(any)) },
    { weight: 4, arbitrary: named.map((any) => JSON.stringify(any)) },
    { weight: 4, arbitrary: changed.map((any) => JSON.stringify(any)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 1, arbitrary: changed.map((any) => JSON.stringify(any).slice(0, -1)) },
  );
}

/** @returns the value with one of its places, counted through, holding another */
function replace(value: unknown, place: number, other: unknown): unknown {
  const paths: (readonly (string | number)[])[] = [];
  const walk = (node: unknown, path: readonly (string | number)[]): void => {
    paths.push(path);
    if (typeof node !== 'object' || node === null) return;
    for (const [key, child] of Object.entries(node)) walk(child, [...path, key]);
  };
  walk(value, []);
  const chosen = paths[place % paths.length] as readonly (string | number)[];
  const put = (node: unknown, depth: number): unknown => {
    if (depth === chosen.length) return other;
    const copy: Record<string, unknown> = Array.isArray(node) ? ([...node] as never) : { ...(node as object) };
    const key = String(chosen[depth]);
    copy[key] = put((node as Record<string, unknown>)[key], depth + 1);
    return copy;
  };
  return put(value, 0);
}
