import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';

import { createClient, type RetryOptions, retryAfterMs, ServiceError } from '../../../clients/typescript/src/index.ts';

type Step = (request: IncomingMessage, response: ServerResponse) => void;

interface Script {
  readonly url: string;
  /** Bodies that came, and when, in milliseconds. */
  readonly bodies: string[];
  readonly times: number[];
}

/** A server that answers each request with the next step, and goes on with the last one. */
async function scripted(t: Pick<TestContext, 'after'>, steps: readonly Step[]): Promise<Script> {
  const bodies: string[] = [];
  const times: number[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    const step = steps[Math.min(bodies.length, steps.length - 1)] as Step;
    bodies.push(body);
    times.push(performance.now());
    step(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies, times };
}

const answer =
  (status: number, body: unknown, headers: Record<string, string> = {}): Step =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
const problem = (status: number, code: string, headers: Record<string, string> = {}): Step =>
  answer(
    status,
    { type: `urn:ds-lora:problem:${code}`, title: 'A title', status, code, detail: 'A detail', remedy: 'Do so' },
    { ...headers, 'content-type': 'application/problem+json' },
  );
const cut: Step = (request) => request.socket.destroy();
const GOOD = answer(200, { results: [{ label: 'NOT' }] });
const FAST: RetryOptions = { firstWaitMs: 1, longestWaitMs: 5 };

describe('the TypeScript client', () => {
  it('tries again while the service is overloaded, away or out of reach, with the same body', async (t) => {
    const { url, bodies } = await scripted(t, [problem(429, 'overloaded'), cut, problem(503, 'not_ready'), GOOD]);
    const client = createClient({ baseUrl: url, retry: FAST });
    const { results } = await client.classify({ texts: ['a', 'ß'] });
    assert.equal(results[0]?.label, 'NOT');
    assert.deepEqual(bodies, Array(4).fill('{"texts":["a","ß"]}'));
  });

  it('waits as long as Retry-After asks', async (t) => {
    const { url, times } = await scripted(t, [problem(429, 'overloaded', { 'retry-after': '1' }), GOOD]);
    await createClient({ baseUrl: url, retry: FAST }).classify({ text: 'a' });
    const [first = 0, second = 0] = times;
    assert.ok(second - first >= 990);
  });

  it('reads seconds and dates', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    const read = (value: string) => retryAfterMs(new Headers({ 'retry-after': value }), now);
    assert.equal(read('3'), 3000);
    assert.equal(read('Thu, 01 Jan 2026 00:00:07 GMT'), 7000);
    assert.equal(read('Wed, 31 Dec 2025 00:00:00 GMT'), 0);
    assert.equal(read('soon'), undefined);
    assert.equal(retryAfterMs(new Headers(), now), undefined);
  });

  it('gives up after so many tries with what the service said', async (t) => {
    const { url, bodies } = await scripted(t, [problem(429, 'overloaded')]);
    const client = createClient({ baseUrl: url, retry: { ...FAST, attempts: 3 } });
    await assert.rejects(client.classify({ text: 'a' }), (error) => {
      assert.ok(error instanceof ServiceError);
      assert.deepEqual([error.status, error.problem?.code, error.message], [429, 'overloaded', 'A detail']);
      return true;
    });
    assert.equal(bodies.length, 3);
  });

  it('does not wait for what it would not live to see', async (t) => {
    const { url, bodies } = await scripted(t, [problem(503, 'shutting_down', { 'retry-after': '3600' })]);
    const client = createClient({ baseUrl: url, retry: { ...FAST, totalMs: 30_000 } });
    await assert.rejects(client.models(), (error) => {
      assert.ok(error instanceof ServiceError);
      assert.equal(error.retryAfterMs, 3_600_000);
      return true;
    });
    assert.equal(bodies.length, 1);
  });

  it('ends when its time is over, though the service never answers', async (t) => {
    const { url } = await scripted(t, [() => {}]);
    const client = createClient({ baseUrl: url, retry: { ...FAST, totalMs: 100 } });
    await assert.rejects(client.models(), { name: 'TimeoutError' });
  });

  it('asks once when another try cannot help', async (t) => {
    for (const status of [400, 404, 413, 422, 500, 504]) {
      const { url, bodies } = await scripted(t, [problem(status, 'x')]);
      await assert.rejects(createClient({ baseUrl: url, retry: FAST }).classify({ text: 'a' }), ServiceError);
      assert.equal(bodies.length, 1, `${status}`);
    }
  });

  it('obeys a signal, in a request and in a wait', async (t) => {
    const hanging = await scripted(t, [() => {}]);
    const refusing = await scripted(t, [problem(429, 'overloaded', { 'retry-after': '60' })]);
    for (const { url } of [hanging, refusing]) {
      const reason = new Error('enough');
      const abort = new AbortController();
      const asked = createClient({ baseUrl: url }).classify({ text: 'a' }, { signal: abort.signal });
      setTimeout(() => abort.abort(reason), 100);
      await assert.rejects(asked, (error) => error === reason);
    }
  });

  it('tells an answer that is not the service’s from one that is', async (t) => {
    const { url } = await scripted(t, [(_, response) => response.writeHead(502).end('<html>bad gateway</html>')]);
    await assert.rejects(createClient({ baseUrl: url, retry: FAST }).classify({ text: 'a' }), (error) => {
      assert.ok(error instanceof ServiceError);
      assert.deepEqual([error.status, error.problem], [502, undefined]);
      return true;
    });
  });

  it('sends a key and further headers', async (t) => {
    const seen: Record<string, unknown>[] = [];
    const { url } = await scripted(t, [
      (request, response) => {
        seen.push(request.headers);
        GOOD(request, response);
      },
    ]);
    await createClient({ baseUrl: url, apiKey: 'secret', headers: { 'x-tenant': 'a' } }).classify({ text: 'a' });
    assert.equal(seen[0]?.authorization, 'Bearer secret');
    assert.equal(seen[0]?.['x-tenant'], 'a');
  });
});
