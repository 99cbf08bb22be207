import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { EngineErrorCode } from '../../src/engine/types.ts';
import { buildTestApp } from './build-test-app.ts';
import { assertDocumented } from './documented.ts';
import { engineError } from './fake-engine.ts';

const STATUSES: Readonly<Record<EngineErrorCode, number>> = {
  invalid_unicode: 422,
  empty_after_normalization: 422,
  unknown_model: 404,
  overloaded: 429,
  deadline_exceeded: 504,
  inference_failed: 503,
  quarantined: 422,
  shutting_down: 503,
};

async function failWith(error: unknown, body: object = { text: 'a marked text' }) {
  const { classify, engine, log } = await buildTestApp();
  engine.failure = error as typeof engine.failure;
  const answer = await classify(body);
  return { answer, log, problem: assertDocumented(answer, 'POST', '/classify') as Record<string, string> };
}

describe('errors of the engine', () => {
  for (const [code, status] of Object.entries(STATUSES)) {
    it(`answers ${status} to ${code}, without the engine's message`, async () => {
      const { answer, problem } = await failWith(engineError(code as EngineErrorCode));
      assert.equal(answer.statusCode, status);
      assert.equal(problem.code, code);
      assert.equal(answer.body.includes('stays inside'), false);
    });
  }

  it('points at the text at fault', async () => {
    const error = engineError('invalid_unicode', 1);
    assert.equal((await failWith(error, { texts: ['a', 'b'] })).problem.pointer, '/texts/1');
    assert.equal((await failWith(engineError('invalid_unicode', 0))).problem.pointer, '/text');
  });

  it('says when to come back to a full queue', async () => {
    const { answer } = await failWith(engineError('overloaded'));
    assert.equal(answer.headers['retry-after'], '1');
  });

  it('answers 500 to what nobody expected, and logs its place but not its message', async () => {
    const { answer, problem, log } = await failWith(
      new SyntaxError('Unexpected token in "a marked text"\n  at a marked text'),
    );
    assert.equal(answer.statusCode, 500);
    assert.equal(problem.code, 'internal_error');
    assert.equal(answer.body.includes('marked'), false);
    assert.equal(log.text().includes('marked'), false);
    assert.match(log.text(), /"type":"SyntaxError","stack":" {4}at /);
    assert.equal(log.requests()[0]?.level, 'error');
  });
});
