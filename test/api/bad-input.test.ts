import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { PROBLEMS, type ProblemCode } from '../../src/api/problems.ts';
import { buildTestApp } from './build-test-app.ts';
import { assertDocumented } from './documented.ts';

/** Stands in every bad body, and nowhere in an answer or a log. */
const MARK = 'Qzxv-marked';

interface Case {
  readonly body: unknown;
  readonly code: ProblemCode;
  readonly pointer?: string;
  readonly headers?: Record<string, string>;
  /** A part of `detail`. */
  readonly says?: string;
}

const latin1 = Buffer.from(`{"text":"${MARK} caf\u00e9"}`, 'latin1');

const CASES: Readonly<Record<string, Case>> = {
  'not JSON': { body: `{"text": "${MARK}"`, code: 'invalid_json' },
  'a bare word': { body: MARK, code: 'invalid_json' },
  'two documents': { body: `{"text":"${MARK}"}{}`, code: 'invalid_json' },
  'an empty body': { body: '', code: 'invalid_json' },
  'not UTF-8': { body: latin1, code: 'invalid_utf8' },
  'UTF-8 of a lone surrogate': { body: Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), code: 'invalid_utf8' },
  'another charset': {
    body: latin1,
    headers: { 'content-type': 'application/json; charset=latin1' },
    code: 'unsupported_media_type',
  },
  'a compressed body': {
    body: { text: MARK },
    headers: { 'content-encoding': 'gzip' },
    code: 'unsupported_media_type',
  },
  'another media type': {
    body: { text: MARK },
    headers: { 'content-type': 'text/plain' },
    code: 'unsupported_media_type',
  },
  'a form': {
    body: `text=${MARK}`,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    code: 'unsupported_media_type',
  },
  'a broken media type': { body: { text: MARK }, headers: { 'content-type': 'json' }, code: 'unsupported_media_type' },
  'a list': { body: [MARK], code: 'invalid_body' },
  'a string': { body: `"${MARK}"`, code: 'invalid_body' },
  null: { body: 'null', code: 'invalid_body' },
  'neither text nor texts': { body: { gates: 'mean' }, code: 'missing_text' },
  'both text and texts': { body: { text: MARK, texts: [MARK] }, code: 'text_and_texts' },
  'a number for text': { body: { text: 5 }, code: 'invalid_type', pointer: '/text' },
  'null for text': { body: { text: null }, code: 'invalid_type', pointer: '/text' },
  'a list for text': { body: { text: [MARK] }, code: 'invalid_type', pointer: '/text' },
  'a string for texts': { body: { texts: MARK }, code: 'invalid_type', pointer: '/texts' },
  'a number among texts': { body: { texts: [MARK, 5] }, code: 'invalid_type', pointer: '/texts/1' },
  'null among texts': { body: { texts: [null, MARK] }, code: 'invalid_type', pointer: '/texts/0' },
  'no texts': { body: { texts: [] }, code: 'no_texts', pointer: '/texts' },
  'too many texts': {
    body: { texts: Array(4).fill(MARK) },
    code: 'too_many_texts',
    pointer: '/texts',
    says: '3 texts',
  },
  'a text that is too long': {
    body: { text: MARK.repeat(10) },
    code: 'text_too_long',
    pointer: '/text',
    says: '50 characters',
  },
  'a long one among texts': { body: { texts: ['a', MARK.repeat(10)] }, code: 'text_too_long', pointer: '/texts/1' },
  'a body that is too large': { body: { text: MARK.repeat(200) }, code: 'body_too_large' },
  'an unknown option': { body: { text: MARK, verbose: true }, code: 'unknown_option', says: '`verbose`' },
  'an option that there is not': { body: { text: MARK, translate: true }, code: 'unknown_option', says: '`translate`' },
  'a text in place of an option': { body: { text: 'a', [`${MARK} is a text`]: 1 }, code: 'unknown_option' },
  'an error policy that there is not': {
    body: { text: MARK, onError: 'skip' },
    code: 'invalid_option',
    pointer: '/onError',
    says: 'request, item',
  },
  'a priority that there is not': {
    body: { text: MARK, priority: 1 },
    code: 'invalid_option',
    pointer: '/priority',
    says: 'interactive, bulk',
  },
  ...Object.fromEntries(
    ['0', '-5', '1.5', '800ms', '1e3', '', '10000000'].map((value) => [
      `a timeout of "${value}"`,
      {
        body: { text: MARK },
        headers: { 'x-request-timeout-ms': value },
        code: 'invalid_header',
        says: '1 to 9999999',
      },
    ]),
  ),
  'an option in another case': { body: { text: MARK, Gates: 'mean' }, code: 'unknown_option', says: '`Gates`' },
  'a key of every object': { body: '{"text":"a","__proto__":{"gates":"x"}}', code: 'unknown_option' },
  'an unknown value of gates': { body: { text: MARK, gates: 'all' }, code: 'invalid_option', pointer: '/gates' },
  'null for gates': { body: { text: MARK, gates: null }, code: 'invalid_option', pointer: '/gates' },
  'a name for threshold': { body: { text: MARK, threshold: MARK }, code: 'invalid_option', pointer: '/threshold' },
  'a threshold above 1': { body: { text: MARK, threshold: 1.01 }, code: 'invalid_option', pointer: '/threshold' },
  'a threshold below 0': { body: { text: MARK, threshold: -0.01 }, code: 'invalid_option', pointer: '/threshold' },
  'a number as a string': { body: { text: MARK, threshold: '0.5' }, code: 'invalid_option', pointer: '/threshold' },
  'a number for windows': { body: { text: MARK, windows: 1 }, code: 'invalid_option', pointer: '/windows' },
  'a word for windows': { body: { text: MARK, windows: 'true' }, code: 'invalid_option', pointer: '/windows' },
  'a number for model': { body: { text: MARK, model: 1 }, code: 'invalid_option', pointer: '/model' },
  'an unknown model': { body: { text: MARK, model: 'nobody' }, code: 'unknown_model' },
};

describe('bad input of POST /classify', () => {
  for (const [name, { body, headers, code, pointer, says }] of Object.entries(CASES)) {
    it(`answers ${code} to ${name}`, async () => {
      const { classify, engine, log } = await buildTestApp({ maxTexts: 3, maxTextChars: 50, bodyLimitBytes: 1024 });
      const answer = await classify(body, headers);
      const problem = assertDocumented(answer, 'POST', '/classify') as Record<string, string>;
      assert.equal(problem.code, code);
      assert.equal(answer.statusCode, PROBLEMS[code].status);
      assert.equal(problem.pointer, pointer);
      if (says !== undefined) assert.ok(problem.detail?.includes(says), problem.detail);
      assert.equal(answer.body.includes(MARK), false, answer.body);
      assert.equal(log.text().includes(MARK), false, log.text());
      assert.equal(log.requests()[0]?.code, code);
      if (code !== 'unknown_model') assert.deepEqual(engine.seen, []);
    });
  }

  it('counts characters as Unicode code points', async () => {
    const { classify } = await buildTestApp({ maxTextChars: 3 });
    assert.equal((await classify({ text: '👍👍👍' })).statusCode, 200);
    assert.equal((await classify({ text: '👍👍👍👍' })).statusCode, 400);
  });

  it('refuses parameters in the address', async () => {
    const { app } = await buildTestApp();
    const answer = await app.inject({ method: 'POST', url: `/classify?model=${MARK}`, payload: { text: 'a' } });
    assert.equal((assertDocumented(answer, 'POST', '/classify') as { code: string }).code, 'unknown_option');
  });
});
