import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { buildTestApp } from './build-test-app.ts';

describe('request log', () => {
  it('writes one line a request, with what happened and never the text', async () => {
    const { app, classify, log } = await buildTestApp();
    await classify({ texts: ['marked one', 'marked two'], model: 'plain' }, { 'x-request-id': 'abc-1' });
    await app.inject('/nowhere/marked?text=marked');
    assert.equal(log.text().includes('marked'), false);
    const [served, lost, ...more] = log.requests();
    assert.deepEqual(more, []);
    const { time, durationMs, ...rest } = served ?? assert.fail();
    assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
    assert.ok(Number(durationMs) > 0);
    assert.deepEqual(rest, {
      level: 'info',
      requestId: 'abc-1',
      method: 'POST',
      route: '/classify',
      status: 200,
      texts: 2,
      model: 'plain',
      msg: 'request',
    });
    assert.deepEqual([lost?.route, lost?.status, lost?.code], ['unmatched', 404, 'not_found']);
  });

  it('has a line for an address that cannot be read', async () => {
    const { app, log } = await buildTestApp();
    for (const [url, status, code] of [
      ['/marked%zz', 400, 'bad_request'],
      [`/models/${'marked'.repeat(50)}`, 404, 'not_found'],
    ] as const) {
      const answer = await app.inject({ method: 'POST', url });
      const line = log.requests().at(-1);
      assert.deepEqual([line?.route, line?.status, line?.code], ['unmatched', status, code]);
      assert.equal(line?.requestId, answer.headers['x-request-id']);
    }
    assert.equal(log.text().includes('marked'), false);
  });

  it('keeps what machines ask every few seconds at debug', async () => {
    const { app, engine, log } = await buildTestApp();
    engine.healthy = false;
    for (const url of ['/health/live', '/health/ready', '/metrics']) await app.inject(url);
    assert.deepEqual(
      log.requests().map(({ level }) => level),
      ['debug', 'debug', 'debug'],
    );
  });
});

describe('request id', () => {
  it("is the client's where it is sane, and stands in the answer", async () => {
    const { classify } = await buildTestApp();
    const answer = await classify({}, { 'x-request-id': 'trace:7.a_b-c' });
    assert.equal(answer.headers['x-request-id'], 'trace:7.a_b-c');
    assert.equal((JSON.parse(answer.body) as { requestId: string }).requestId, 'trace:7.a_b-c');
  });

  it('is a new one where it is not', async () => {
    const { classify } = await buildTestApp();
    for (const id of ['a b', '', 'x'.repeat(65), '-a', 'ä', '{"a":1}']) {
      const answer = await classify({ text: 'a' }, { 'x-request-id': id });
      assert.match(String(answer.headers['x-request-id']), /^[0-9a-f-]{36}$/);
    }
  });
});
