import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { digestOf } from '../../../src/api/access/api-key.ts';
import { clientAddress } from '../../../src/api/access/client-address.ts';
import { createBuckets } from '../../../src/api/access/token-bucket.ts';
import { buildTestApp } from '../build-test-app.ts';
import { assertDocumented } from '../documented.ts';

const entry = (name: string) => `${name}=classify:${digestOf(name).toString('hex')}`;

describe('buckets', () => {
  it('fill at a steady pace, up to what they hold', () => {
    let now = 0;
    const buckets = createBuckets(10, 10, () => now);
    assert.equal(buckets.take('a', 10), 0);
    assert.equal(buckets.take('a', 1), 1);
    assert.equal(buckets.take('b', 1), 0);
    now = 3_000;
    assert.deepEqual(buckets.state('a'), { remaining: 3, fullInSeconds: 7 });
    assert.equal(buckets.take('a', 4), 1);
    assert.equal(buckets.take('a', 3), 0);
    now = 1_000_000;
    assert.deepEqual(buckets.state('a'), { remaining: 10, fullInSeconds: 0 });
  });

  it('let somebody take more than they hold when they are full, who waits the longer', () => {
    let now = 0;
    const buckets = createBuckets(10, 10, () => now);
    assert.equal(buckets.take('a', 25), 0);
    assert.equal(buckets.take('a', 1), 16);
    assert.equal(buckets.state('a').remaining, 0);
    now = 16_000;
    assert.equal(buckets.take('a', 1), 0);
  });

  it('are forgotten when there are too many clients, so that memory is bounded', () => {
    const buckets = createBuckets(1, 3_600, () => 0);
    assert.equal(buckets.take('first', 1), 0);
    for (let i = 0; i < 50_000; i++) buckets.take(`other ${i}`, 1);
    assert.equal(buckets.take('first', 1), 0);
    assert.notEqual(buckets.take('other 49999', 1), 0);
  });
});

describe('addresses', () => {
  it('of IPv6 count as their network, and what is none is not believed', () => {
    for (const [ip, expected] of [
      ['192.0.2.1', '192.0.2.1'],
      ['::ffff:192.0.2.1', '192.0.2.1'],
      ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
      ['2001:DB8:1:2::9', '2001:db8:1:2::/64'],
      ['2001:db8::1', '2001:db8:0:0::/64'],
      ['fe80::1%eth0', 'fe80:0:0:0::/64'],
      ['::1', '0:0:0:0::/64'],
      ['nonsense', '10.0.0.1'],
    ] as const)
      assert.equal(clientAddress(ip, '10.0.0.1'), expected);
  });
});

describe('rate limits', () => {
  it('are off by default', async () => {
    const { classify } = await buildTestApp();
    const answer = await classify({ text: 'a' });
    assert.deepEqual([answer.headers.ratelimit, answer.headers['ratelimit-policy']], [undefined, undefined]);
  });

  it('refuse requests beyond the limit with what to wait, and count them', async () => {
    const { app, classify } = await buildTestApp({ rateLimitRequests: 2, rateLimitSeconds: 3_600 });
    const first = await classify({ text: 'a' });
    assert.equal(first.headers['ratelimit-policy'], '"requests";q=2;w=3600');
    assert.match(String(first.headers.ratelimit), /^"requests";r=1;t=1\d{3}$/);
    assert.equal((await classify('not json')).statusCode, 400);
    const refused = await classify({ text: 'a' });
    assertDocumented(refused, 'POST', '/classify');
    assert.deepEqual([refused.statusCode, JSON.parse(refused.body).code], [429, 'rate_limited']);
    assert.ok(Number(refused.headers['retry-after']) > 1_000);
    // Those who watch the service are not limited.
    assert.equal((await app.inject('/health/live')).statusCode, 200);
    assert.match((await app.inject('/metrics')).body, /^dslora_rate_limited_total\{limit="requests"\} 1$/m);
  });

  it('count texts, however they are sent', async () => {
    const { app, classify, engine } = await buildTestApp({ rateLimitTexts: 4, rateLimitSeconds: 3_600 });
    assert.equal((await classify({ texts: ['a', 'b', 'c'] })).statusCode, 200);
    const refused = await classify({ texts: ['a', 'b'] });
    assert.deepEqual([refused.statusCode, refused.headers['ratelimit-policy']], [429, '"texts";q=4;w=3600']);
    assert.equal(engine.seen.length, 1);
    const send = (url: string, payload: object) => app.inject({ method: 'POST', url, payload });
    assert.equal((await send('/predict', { inputs: [['a'], ['b']] })).statusCode, 429);
    assert.equal((await send('/v1/moderations', { input: 'a' })).statusCode, 200);
    assert.equal((await classify({ text: 'a' })).statusCode, 429);
  });

  it('are of a key where there is one, and else of an address', async () => {
    const keys = await buildTestApp({ rateLimitRequests: 1, apiKeys: `${entry('one')},${entry('two')}` });
    const ask = (key: string) => keys.app.inject({ url: '/models', headers: { 'x-api-key': key } });
    assert.deepEqual(
      [(await ask('one')).statusCode, (await ask('one')).statusCode, (await ask('two')).statusCode],
      [200, 429, 200],
    );
    const { app } = await buildTestApp({ rateLimitRequests: 1 });
    const from = async (remoteAddress: string) => (await app.inject({ url: '/models', remoteAddress })).statusCode;
    assert.deepEqual([await from('192.0.2.1'), await from('192.0.2.1'), await from('192.0.2.2')], [200, 429, 200]);
  });

  it('believe X-Forwarded-For from trusted proxies only', async () => {
    const { app } = await buildTestApp({ rateLimitRequests: 1, trustProxy: ['10.0.0.0/8'] });
    const through = async (remoteAddress: string, forwarded: string) =>
      (await app.inject({ url: '/models', remoteAddress, headers: { 'x-forwarded-for': forwarded } })).statusCode;
    assert.deepEqual([await through('10.0.0.1', '192.0.2.1'), await through('10.0.0.2', '192.0.2.1')], [200, 429]);
    assert.equal(await through('10.0.0.1', '192.0.2.2'), 200);
    // The last address that is no proxy of ours counts, not what a client put in front of it.
    assert.equal(await through('10.0.0.1', '198.51.100.9, 192.0.2.1'), 429);
    assert.deepEqual([await through('192.0.2.7', '1.1.1.1'), await through('192.0.2.7', '2.2.2.2')], [200, 429]);
  });

  it('are said in the shape of each protocol', async () => {
    for (const [url, payload, shape] of [
      ['/v1/moderations', { input: 'a' }, { error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' } }],
      ['/predict', { inputs: 'a' }, { error_type: 'Overloaded' }],
      ['/v2/models/gated/infer', {}, {}],
      ['/v1alpha1/comments:analyze', {}, { error: { code: 429, status: 'RESOURCE_EXHAUSTED' } }],
    ] as const) {
      const { app } = await buildTestApp({ rateLimitRequests: 1 });
      await app.inject({ method: 'POST', url, payload });
      const answer = await app.inject({ method: 'POST', url, payload });
      assert.equal(answer.statusCode, 429, url);
      assert.ok(Number(answer.headers['retry-after']) >= 1);
      assert.partialDeepStrictEqual(JSON.parse(answer.body), shape);
    }
  });
});
