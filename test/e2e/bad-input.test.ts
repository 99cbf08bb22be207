import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { startService } from './service.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const utf8 = (body: unknown) => JSON.stringify(body);

/** Body, headers, expected status and code. */
const CASES: readonly [
  name: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string>,
  status: number,
  code: string,
][] = [
  ['not JSON', '{"text":', JSON_TYPE, 400, 'invalid_json'],
  ['not UTF-8', new Uint8Array([0x22, 0xff, 0x22]), JSON_TYPE, 400, 'invalid_utf8'],
  ['wrong content type', 'text=a', { 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
  ['not an object', utf8(['a']), JSON_TYPE, 400, 'invalid_body'],
  ['neither text nor texts', utf8({}), JSON_TYPE, 400, 'missing_text'],
  ['both text and texts', utf8({ text: 'a', texts: ['a'] }), JSON_TYPE, 400, 'text_and_texts'],
  ['wrong type', utf8({ text: 1 }), JSON_TYPE, 400, 'invalid_type'],
  ['empty list', utf8({ texts: [] }), JSON_TYPE, 400, 'no_texts'],
  ['too many texts', utf8({ texts: Array(257).fill('a') }), JSON_TYPE, 400, 'too_many_texts'],
  ['text over the limit', utf8({ text: 'a'.repeat(20_001) }), JSON_TYPE, 400, 'text_too_long'],
  ['body over the limit', utf8({ text: 'a'.repeat(1_100_000) }), JSON_TYPE, 413, 'body_too_large'],
  ['unknown model', utf8({ text: 'a', model: 'x' }), JSON_TYPE, 404, 'unknown_model'],
  ['unknown option', utf8({ text: 'a', verbose: true }), JSON_TYPE, 400, 'unknown_option'],
  ['unknown option value', utf8({ text: 'a', gates: 'x' }), JSON_TYPE, 400, 'invalid_option'],
  ['empty text', utf8({ text: '' }), JSON_TYPE, 422, 'empty_after_normalization'],
  ['nothing left', utf8({ texts: ['a', '\u200b \n'] }), JSON_TYPE, 422, 'empty_after_normalization'],
  ['lone surrogate', '{"text":"a \\ud800 b"}', JSON_TYPE, 422, 'invalid_unicode'],
];

describe('bad input over HTTP', () => {
  it('has its own code each', async (t) => {
    const { classify, stop, url } = await startService(t);
    for (const [name, body, headers, status, code] of CASES) {
      const answer = await classify('', { body, headers });
      const problem = (await answer.json()) as { code: string; status: number };
      assert.deepEqual([answer.status, problem.status, problem.code], [status, status, code], name);
      assert.match(String(answer.headers.get('content-type')), /^application\/problem\+json/);
    }
    assert.equal((await fetch(`${url}/nothing`)).status, 404);
    assert.equal((await fetch(`${url}/classify`)).status, 405);
    // None of it did any harm.
    assert.equal((await classify({ text: 'you are kind' })).status, 200);
    assert.equal(await stop(), 0);
  });

  it('does not hold up others with texts that are slow to read', async (t) => {
    const { classify } = await startService(t, { MAX_TEXT_CHARS: '1000000' });
    await (await classify({ text: 'warm' })).json();
    for (const text of [`a${' '.repeat(100_000)}b`, `a${'\u0301'.repeat(25_000)}`]) {
      let settled = false;
      const slow = classify({ text }).finally(() => {
        settled = true;
      });
      const waits: number[] = [];
      do {
        const begun = performance.now();
        assert.equal((await classify({ text: 'you are kind' })).status, 200);
        waits.push(performance.now() - begun);
      } while (!settled && waits.length < 50);
      assert.ok(Math.max(...waits) < 500, `the others waited ${Math.max(...waits).toFixed(0)} ms`);
      assert.ok([200, 422].includes((await slow).status));
    }
  });
});
