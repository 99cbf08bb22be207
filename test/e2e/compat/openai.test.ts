/** The clients of OpenAI, pointed at the service. Each is told the address only. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import OpenAI from 'openai';

import { MODEL_FOLDERS, type Service } from '../service.ts';
import { sharedService } from '../shared-service.ts';
import { MISSING_PYTHON, runPythonClient } from './python-client.ts';

/** Must not be found in anything that the service prints. */
const KEY = 'sk-marked-key';
const RUDE = 'you are an idiot';
const KIND = 'what a lovely day';

const shared = sharedService();

function clientOf(service: Service): OpenAI {
  return new OpenAI({ apiKey: KEY, baseURL: `${service.url}/v1`, maxRetries: 0 });
}

/** What the native route says of the same texts. */
async function native(service: Service, texts: readonly string[], model?: string) {
  const answer = await service.classify({ texts, ...(model === undefined ? {} : { model }) });
  return ((await answer.json()) as { results: { offensive: number; flagged: boolean }[] }).results;
}

function assertNothingLeaked(service: Service): void {
  for (const secret of [KEY, 'idiot']) assert.equal(service.output().includes(secret), false, secret);
}

describe('openai for Node.js', () => {
  it('gets one result a text, with every category', async () => {
    const service = shared();
    const answer = await clientOf(service).moderations.create({ model: 'omni-moderation-latest', input: [RUDE, KIND] });
    assert.match(answer.id, /^modr-/);
    assert.equal(answer.model, 'tiny@1.0.0');
    const expected = await native(service, [RUDE, KIND]);
    assert.equal(answer.results.length, 2);
    for (const [index, result] of answer.results.entries()) {
      const { offensive, flagged } = expected[index] ?? assert.fail();
      assert.equal(result.flagged, flagged);
      assert.equal(result.categories.harassment, flagged);
      assert.ok(Math.abs(result.category_scores.harassment - offensive) < 1e-5);
      assert.deepEqual(result.category_applied_input_types.harassment, ['text']);
      assert.equal(Object.keys(result.categories).length, 13);
      assert.deepEqual(
        [
          result.categories['self-harm'],
          result.category_scores['self-harm'],
          result.category_applied_input_types.illicit,
        ],
        [false, 0, []],
      );
    }
    assertNothingLeaked(service);
  });

  it('takes a text, parts of a text, and our names for models', async () => {
    const { moderations } = clientOf(shared());
    const [whole] = (await moderations.create({ input: `${RUDE}\n${KIND}`, model: 'tiny' })).results;
    const parts = [RUDE, KIND].map((text) => ({ type: 'text' as const, text }));
    assert.deepEqual((await moderations.create({ input: parts, model: 'tiny@1.0.0' })).results, [whole]);
  });

  it('is told what is wrong in a form that it understands', async () => {
    const service = shared();
    const { moderations } = clientOf(service);
    const image = { type: 'image_url' as const, image_url: { url: 'https://example.org/a.png' } };
    await assert.rejects(moderations.create({ input: [image] }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.deepEqual(
        [error.code, error.param, error.type],
        ['unsupported_value', 'input[0]', 'invalid_request_error'],
      );
      return true;
    });
    await assert.rejects(moderations.create({ input: KIND, model: 'gpt-5' }), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, 'model_not_found');
      return true;
    });
    assertNothingLeaked(service);
  });
});

describe('openai for Python', { skip: MISSING_PYTHON }, () => {
  it('gets results and errors of its own kinds', async () => {
    const service = shared();
    const found = (await runPythonClient('openai_moderation.py', service.url, { key: KEY, texts: [RUDE, KIND] })) as {
      model: string;
      flagged: boolean[];
      scores: number[];
      refusal: { kind: string; code: string; param: string };
    };
    const expected = await native(service, [RUDE, KIND]);
    assert.deepEqual(
      found.flagged,
      expected.map(({ flagged }) => flagged),
    );
    for (const [index, score] of found.scores.entries()) {
      assert.ok(Math.abs(score - (expected[index]?.offensive ?? Number.NaN)) < 1e-5);
    }
    assert.deepEqual(found.refusal, { kind: 'BadRequestError', code: 'empty_array', param: 'input' });
    assertNothingLeaked(service);
  });
});

const shipped = MODEL_FOLDERS.find((folder) => folder.endsWith('models'));

describe('shipped models', { skip: shipped === undefined && 'no models are shipped' }, () => {
  const sharedShipped = sharedService({ MODELS_DIR: shipped as string });

  it('flag as the native route does, by the categories of their manifests', async () => {
    const service = sharedShipped();
    const texts = ['You are all complete idiots.', 'Have a lovely day, everyone.'];
    for (const model of ['hatexplain-minilm', 'olid-minilm']) {
      const expected = await native(service, texts, model);
      const { results } = await clientOf(service).moderations.create({ model, input: texts });
      for (const [index, { flagged, categories, category_scores: scores }] of results.entries()) {
        const { offensive, flagged: nativelyFlagged } = expected[index] ?? assert.fail();
        assert.equal(flagged, nativelyFlagged);
        assert.equal(categories.harassment || categories.hate, flagged);
        assert.ok(Math.abs(scores.harassment + scores.hate - offensive) < 1e-3);
      }
    }
  });

  it('answer a text that leaves nothing to read as one that no category was applied to', async () => {
    const { results } = await clientOf(sharedShipped()).moderations.create({
      model: 'hatexplain-minilm',
      input: ['?!', 'Have a lovely day.'],
    });
    assert.deepEqual(
      results.map(({ flagged, category_applied_input_types: applied }) => [flagged, applied.hate]),
      [
        [false, []],
        [false, ['text']],
      ],
    );
  });
});
