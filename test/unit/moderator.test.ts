import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { type Classification, type ClassifyRequest, EngineError, type TextOutcome } from '../../src/engine/types.ts';
import { allOrNothing, createModerator } from '../../src/moderation/moderator.ts';
import type { Policy } from '../../src/moderation/policy.ts';
import type { ModeratedText } from '../../src/moderation/types.ts';
import { GATED, PLAIN } from '../api/fake-engine.ts';

const thresholds = { offensive: { review: 0.4, block: 0.8 } };
const FOLDING: Policy = { schemaVersion: 1, name: 'folding', version: '1', thresholds, evasion: { fold: true } };
const BOTH: Policy = { ...FOLDING, name: 'both', models: [{ model: 'gated' }, { model: 'plain' }] };

/** Offensive is what holds "idle"; "broken" has no answer. */
function engineOf(scores: Readonly<Record<string, number>> = { idle: 0.9 }) {
  const asked: ClassifyRequest[] = [];
  return {
    asked,
    async classifyEach(request: ClassifyRequest): Promise<Classification<TextOutcome>> {
      asked.push(request);
      const model = request.model === 'plain' ? PLAIN : GATED;
      const results = request.texts.map((text, index): TextOutcome => {
        if (text.includes('broken')) return new EngineError('inference_failed', 'broken', { index });
        const found = Object.entries(scores).find(([word]) => text.includes(word))?.[1] ?? 0.1;
        const off = model === PLAIN ? found / 2 : found;
        const window = { tokens: 3, probabilities: model === PLAIN ? [1 - off, off, 0] : [1 - off, off], gates: [] };
        return { ...window, windows: [window] };
      });
      return { model, results, timing: { queueMs: 1, tokenizeMs: 2, inferenceMs: 3 } };
    },
  };
}

async function moderate(request: ClassifyRequest & { policy?: string }, engine = engineOf()) {
  const moderator = createModerator({ engine, policies: { list: () => [FOLDING, BOTH] } });
  const moderation = await moderator.moderate({ policy: 'folding', ...request });
  return { ...moderation, texts: allOrNothing(moderation).results, asked: engine.asked };
}

describe('a policy that folds', () => {
  it('asks for folded forms beside the texts that have one, in one call', async () => {
    const { asked } = await moderate({ texts: ['fine', '1dl3 h4nds', 'kind'] });
    assert.deepEqual(
      asked.map(({ texts }) => texts),
      [['fine', '1dl3 h4nds', 'kind', 'idle hands']],
    );
  });

  it('answers with the higher of the two scores and says so', async () => {
    const { texts } = await moderate({ texts: ['1dl3 h4nds'] });
    const [{ decision, evasion, reasons, probabilities }] = texts as [ModeratedText];
    assert.equal(decision, 'block');
    assert.deepEqual(evasion, { kinds: { leetspeak: 2 }, folded: true, offensiveAsSent: 0.1 });
    assert.deepEqual(reasons, [{ code: 'block_threshold', model: 'gated', value: 0.9, threshold: 0.8, folded: true }]);
    assert.equal(probabilities[1], 0.9);
  });

  it('answers with the text as it was sent where that scores as high', async () => {
    const { texts } = await moderate({ texts: ['1dl3 h4nds'] }, engineOf({ '1dl3': 0.5, idle: 0.5 }));
    assert.deepEqual(texts[0]?.evasion, { kinds: { leetspeak: 2 }, folded: false });
  });

  it('does without a folded form that cannot be answered', async () => {
    const { texts } = await moderate({ texts: ['br0k3n h4nds'] });
    assert.equal(texts[0]?.decision, 'allow');
    assert.equal(texts[0]?.evasion.folded, false);
  });

  it('lets a text fail alone', async () => {
    const { results } = await createModerator({ engine: engineOf() }).moderate({ texts: ['fine', 'broken'] });
    assert.ok(!(results[0] instanceof EngineError));
    assert.ok(results[1] instanceof EngineError);
  });
});

describe('a policy of several models', () => {
  it('asks each once and answers with the first', async () => {
    const { asked, texts, model, timing } = await moderate({ texts: ['idle hands'], policy: 'both' });
    assert.deepEqual(
      asked.map((request) => request.model),
      ['gated', 'plain'],
    );
    assert.equal(model.name, 'gated');
    assert.equal(texts[0]?.probabilities[1], 0.9);
    assert.deepEqual(
      texts[0]?.others.map((other) => [other.model.name, other.result.probabilities[1]]),
      [['plain', 0.45]],
    );
    assert.deepEqual(timing, { queueMs: 1, tokenizeMs: 4, inferenceMs: 6 });
  });

  it('excludes a model of the request', async () => {
    await assert.rejects(moderate({ texts: ['fine'], model: 'plain', policy: 'both' }), { code: 'model_and_policy' });
  });

  it('must be one that there is', async () => {
    await assert.rejects(moderate({ texts: ['fine'], policy: 'gone' }), { code: 'unknown_policy' });
  });

  it('hands on what concerns the whole request', async () => {
    const signal = AbortSignal.abort();
    const { asked } = await moderate({ texts: ['fine'], signal, timeoutMs: 5, priority: 'bulk' });
    assert.deepEqual({ ...asked[0] }, { model: undefined, texts: ['fine'], signal, timeoutMs: 5, priority: 'bulk' });
  });
});

describe('the language of a text', () => {
  const detectLanguage = (text: string) => ({ deutsch: 'de', english: 'en' })[text];
  async function languageOf(text: string, policy: string) {
    const moderator = createModerator({
      engine: engineOf(),
      policies: { list: () => [FOLDING, BOTH] },
      detectLanguage,
    });
    return allOrNothing(await moderator.moderate({ texts: [text], policy })).results[0]?.language;
  }

  it('is held against what the models list', async () => {
    assert.deepEqual(await languageOf('english', 'both'), { detected: 'en', supported: true });
    assert.deepEqual(await languageOf('deutsch', 'folding'), { detected: 'de', supported: false });
  });

  it('is that of the text with its disguises undone', async () => {
    assert.deepEqual(await languageOf('e\u200bn\u200bglish', 'both'), { detected: 'en', supported: true });
  });

  it('is null where the detector is not sure, and absent where nobody asked', async () => {
    assert.deepEqual(await languageOf('?', 'folding'), { detected: null, supported: null });
    assert.equal((await moderate({ texts: ['deutsch'] })).texts[0]?.language, undefined);
  });
});
