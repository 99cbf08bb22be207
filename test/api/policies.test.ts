import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { ClassifyResponse, ClassifyResult } from '../../src/api/classify-response.ts';
import { PolicyError } from '../../src/moderation/policies.ts';
import { DEFAULT_POLICY, type Policy } from '../../src/moderation/policy.ts';
import { buildTestApp } from './build-test-app.ts';
import { assertDocumented } from './documented.ts';

const FORUM: Policy = {
  schemaVersion: 1,
  name: 'forum',
  version: '2026-11',
  thresholds: { offensive: { review: 0.15, block: 0.95 } },
  evasion: { fold: true },
  languages: { unlisted: 'review' },
};
const BOTH: Policy = {
  schemaVersion: 1,
  name: 'both',
  version: '1',
  models: [{ model: 'plain' }, { model: 'gated' }],
  thresholds: { offensive: { review: 0.8 } },
  combine: 'all',
};
const HATE: Policy = { ...FORUM, name: 'hate', thresholds: { labels: { hate: { block: 0.3 } } } };

const policies = { list: () => [BOTH, DEFAULT_POLICY, FORUM, HATE], reload: async () => {} };
const detectLanguage = (text: string) => (text.startsWith('Guten') ? 'de' : 'en');

async function ask(body: object) {
  const { classify } = await buildTestApp({}, { policies, detectLanguage });
  const answer = await classify(body);
  return { status: answer.statusCode, body: assertDocumented(answer, 'POST', '/classify') };
}

async function decided(body: object): Promise<{ whole: ClassifyResponse; result: ClassifyResult }> {
  const { status, body: whole } = await ask(body);
  assert.equal(status, 200);
  const [result] = (whole as ClassifyResponse).results;
  assert.ok(result !== undefined && !('error' in result));
  return { whole: whole as ClassifyResponse, result };
}

async function code(body: object): Promise<[number, unknown]> {
  const { status, body: problem } = await ask(body);
  return [status, (problem as { code: unknown }).code];
}

describe('the option policy', () => {
  it('says what decides, and its version', async () => {
    const { whole, result } = await decided({ text: 'kind', policy: 'forum' });
    assert.deepEqual(whole.policy, { name: 'forum', version: '2026-11' });
    assert.equal(result.decision, 'review');
    assert.deepEqual(result.reasons, [{ code: 'review_threshold', model: 'gated', value: 0.2, threshold: 0.15 }]);
  });

  it('is the built-in one without it, whose review begins where a text is flagged', async () => {
    const { whole, result } = await decided({ text: 'kind' });
    assert.deepEqual(whole.policy, { name: 'default', version: '1' });
    assert.deepEqual([result.decision, result.flagged], ['allow', false]);
  });

  it('scores disguised texts as what they say, where the policy folds', async () => {
    const disguised = { text: 'how r u d e' };
    const { result } = await decided({ ...disguised, policy: 'forum' });
    assert.equal(result.offensive, 0.9);
    assert.deepEqual(result.evasion, { kinds: { 'spaced-letters': 1 }, folded: true, offensiveAsSent: 0.2 });
    const asSent = (await decided(disguised)).result;
    assert.equal(asSent.offensive, 0.2);
    assert.deepEqual(asSent.evasion, { kinds: { 'spaced-letters': 1 }, folded: false });
  });

  it('marks languages that the model was not made for', async () => {
    assert.deepEqual((await decided({ text: 'kind' })).result.language, { detected: 'en', supported: true });
    const { result } = await decided({ text: 'Guten Tag', policy: 'forum' });
    assert.deepEqual(result.language, { detected: 'de', supported: false });
    assert.ok(result.reasons.some((reason) => reason.code === 'unlisted_language'));
  });

  it('may take several models, of which the first answers', async () => {
    const { whole, result } = await decided({ text: 'rude', policy: 'both' });
    assert.equal(whole.model.name, 'plain');
    assert.deepEqual(
      result.otherModels?.map(({ model, offensive }) => [model.name, offensive]),
      [['gated', 0.9]],
    );
    assert.equal(result.decision, 'allow');
  });

  it('is an error where there is no such policy', async () => {
    assert.deepEqual(await code({ text: 'kind', policy: 'gone' }), [404, 'unknown_policy']);
    assert.deepEqual(await code({ text: 'kind', policy: 7 }), [400, 'invalid_option']);
  });

  it('is an error beside a model when it names its own', async () => {
    assert.deepEqual(await code({ text: 'kind', policy: 'both', model: 'gated' }), [400, 'model_and_policy']);
  });

  it('is an error where its thresholds do not fit the model', async () => {
    assert.deepEqual(await code({ text: 'kind', policy: 'hate' }), [409, 'policy_unfit']);
    assert.equal((await decided({ text: 'rude', policy: 'hate', model: 'plain' })).result.decision, 'block');
  });

  it('is counted with its decisions', async () => {
    const { app, classify } = await buildTestApp({}, { policies });
    await classify({ texts: ['kind', 'kind', 'rude'], policy: 'forum' });
    const { body } = await app.inject('/metrics');
    assert.match(body, /^dslora_decisions_total\{policy="forum",decision="review"\} 3$/m);
  });
});

describe('GET /policies', () => {
  it('lists what a request may name', async () => {
    const { app } = await buildTestApp({}, { policies });
    const body = assertDocumented(await app.inject('/policies'), 'GET', '/policies') as { policies: object[] };
    const { schemaVersion: _, ...forum } = FORUM;
    assert.deepEqual(body.policies[2], { ...forum, default: false });
    assert.deepEqual(
      body.policies.map((policy) => (policy as { default: boolean }).default),
      [false, true, false, false],
    );
  });
});

describe('POST /admin/reload', () => {
  it('says why policies were not taken', async () => {
    const problems = ['a.json is not JSON'];
    const refusing = { ...policies, reload: () => Promise.reject(new PolicyError(problems)) };
    const { app } = await buildTestApp({ adminKey: 'key' }, { policies: refusing });
    const answer = await app.inject({ method: 'POST', url: '/admin/reload', headers: { 'x-api-key': 'key' } });
    const body = assertDocumented(answer, 'POST', '/admin/reload') as { policies: object };
    assert.deepEqual(body.policies, { outcome: 'refused', problems });
  });
});
