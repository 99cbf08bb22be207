import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import type { ServedModel } from '../../src/engine/types.ts';
import { decide, decideForms } from '../../src/moderation/decide.ts';
import { DECISIONS, DEFAULT_POLICY, type Decision, type Policy } from '../../src/moderation/policy.ts';
import type { Form, Language, Reading } from '../../src/moderation/types.ts';
import { GATED, PLAIN } from '../api/fake-engine.ts';

const NOTHING = { evasion: { kinds: {} } };

function policy(own: Partial<Policy>): Policy {
  return { schemaVersion: 1, name: 'own', version: '7', ...own };
}

/** Of the model with labels NOT and OFF. */
function reading(off: number, { gates = [0.5, 0.5, 0.5], folded = false, model = GATED } = {}): Reading {
  return { model, result: { probabilities: [1 - off, off], gates }, folded };
}

/** Of the model with labels normal, offensive and hate. */
function hateReading(offensive: number, hate: number): Reading {
  return { model: PLAIN, result: { probabilities: [1 - offensive - hate, offensive, hate], gates: [] }, folded: false };
}

const rank = (decision: Decision) => DECISIONS.indexOf(decision);
const BAND = policy({ thresholds: { offensive: { review: 0.4, block: 0.8 } } });
const decisionOf = (own: Policy, ...readings: Reading[]) => decide(own, readings, NOTHING).decision;

describe('thresholds of a policy', () => {
  it('decide from their value on', () => {
    assert.equal(decisionOf(BAND, reading(0.399999)), 'allow');
    assert.equal(decisionOf(BAND, reading(0.4)), 'review');
    assert.equal(decisionOf(BAND, reading(0.799999)), 'review');
    assert.equal(decisionOf(BAND, reading(0.8)), 'block');
  });

  it('are held against the number that an answer shows', () => {
    assert.equal(decisionOf(BAND, reading(0.3999996)), 'review');
  });

  it('say what was too high', () => {
    assert.deepEqual(decide(BAND, [reading(0.9)], NOTHING).reasons, [
      { code: 'block_threshold', model: 'gated', value: 0.9, threshold: 0.8 },
    ]);
    assert.deepEqual(decide(BAND, [reading(0.5, { folded: true })], NOTHING).reasons, [
      { code: 'review_threshold', model: 'gated', value: 0.5, threshold: 0.4, folded: true },
    ]);
  });

  it('can leave out one of the two', () => {
    const reviewing = policy({ thresholds: { offensive: { review: 0.4 } } });
    const blocking = policy({ thresholds: { offensive: { block: 0.8 } } });
    assert.equal(decisionOf(reviewing, reading(1)), 'review');
    assert.equal(decisionOf(blocking, reading(0.79)), 'allow');
    assert.equal(decisionOf(blocking, reading(0.8)), 'block');
  });

  it('stand for the uses that a model was measured for', () => {
    assert.equal(decisionOf(DEFAULT_POLICY, reading(0.499999)), 'allow');
    assert.equal(decisionOf(DEFAULT_POLICY, reading(0.5)), 'review');
    assert.equal(decisionOf(DEFAULT_POLICY, reading(0.9)), 'block');
    assert.equal(decisionOf(policy({ thresholds: { offensive: { review: 'high-recall' } } }), reading(0.2)), 'review');
  });

  it('can be those of single labels, and the gravest counts', () => {
    const own = policy({ thresholds: { offensive: { review: 0.5 }, labels: { hate: { review: 0.1, block: 0.3 } } } });
    assert.equal(decisionOf(own, hateReading(0.45, 0.04)), 'allow');
    assert.equal(decisionOf(own, hateReading(0.05, 0.1)), 'review');
    assert.deepEqual(decide(own, [hateReading(0.4, 0.35)], NOTHING), {
      decision: 'block',
      reasons: [{ code: 'block_threshold', model: 'plain', label: 'hate', value: 0.35, threshold: 0.3 }],
    });
    assert.deepEqual(
      decide(own, [hateReading(0.45, 0.15)], NOTHING).reasons.map(({ label }) => label),
      [undefined, 'hate'],
    );
  });

  it('of a label that the model does not have are an error', () => {
    const own = policy({ thresholds: { labels: { hate: { block: 0.3 } } } });
    assert.throws(() => decisionOf(own, reading(0.9)), { name: 'ModerationError', code: 'policy_unfit' });
  });
});

describe('several models of a policy', () => {
  const models = [{ model: 'gated' }, { model: 'plain' }];
  const thresholds = { offensive: { review: 0.4, block: 0.8 } };
  const any = policy({ models, thresholds });
  const all = policy({ models, thresholds, combine: 'all' });
  const max = policy({ models, thresholds, combine: 'max' });

  it('decide by the gravest of them where any is enough', () => {
    assert.equal(decisionOf(any, reading(0.1), hateReading(0.1, 0.1)), 'allow');
    assert.equal(decisionOf(any, reading(0.9), hateReading(0.1, 0.1)), 'block');
    assert.equal(decisionOf(any, reading(0.1), hateReading(0.3, 0.2)), 'review');
  });

  it('name only those that are enough', () => {
    const { reasons } = decide(any, [reading(0.9), hateReading(0.3, 0.2)], NOTHING);
    assert.deepEqual(
      reasons.map(({ model }) => model),
      ['gated'],
    );
  });

  it('decide by the mildest of them where all must agree', () => {
    assert.equal(decisionOf(all, reading(0.9), hateReading(0.1, 0.1)), 'allow');
    assert.equal(decisionOf(all, reading(0.9), hateReading(0.4, 0.1)), 'review');
    assert.equal(decisionOf(all, reading(0.9), hateReading(0.5, 0.4)), 'block');
  });

  it('do not name a model that was outvoted', () => {
    const own = policy({ ...all, evasion: { review: ['bidi'] } });
    const found = { evasion: { kinds: { bidi: 1 } } };
    assert.deepEqual(decide(own, [reading(0.9), hateReading(0.1, 0.1)], found), {
      decision: 'review',
      reasons: [{ code: 'evasion', kinds: ['bidi'] }],
    });
  });

  it('decide by the highest score where it is asked for, and name its model', () => {
    assert.deepEqual(decide(max, [reading(0.5), hateReading(0.5, 0.4)], NOTHING), {
      decision: 'block',
      reasons: [{ code: 'block_threshold', model: 'plain', value: 0.9, threshold: 0.8 }],
    });
    const hate = policy({ models, combine: 'max', thresholds: { labels: { hate: { review: 0.3 } } } });
    assert.equal(decisionOf(hate, reading(0.9), hateReading(0.1, 0.3)), 'review');
    const nobody = policy({ models, combine: 'max', thresholds: { labels: { spam: { review: 0.3 } } } });
    assert.throws(() => decisionOf(nobody, reading(0.9), hateReading(0.1, 0.3)), { code: 'policy_unfit' });
  });

  it('can have thresholds of their own', () => {
    const own = policy({
      models: [{ model: 'gated', thresholds: { offensive: { block: 0.95 } } }, { model: 'plain' }],
      thresholds,
    });
    assert.equal(decisionOf(own, reading(0.9), hateReading(0.1, 0.1)), 'allow');
    assert.equal(decisionOf(own, reading(0.1), hateReading(0.8, 0.1)), 'block');
  });
});

describe('what else sends a text to review', () => {
  /** Mean gates of harmless texts 0.00 to 1.00, of offensive ones twice as many at 2. */
  const ascending = Array.from({ length: 101 }, (_, percent) => percent / 100);
  const distributed: ServedModel = {
    ...GATED,
    manifest: {
      ...GATED.manifest,
      distribution: {
        ...GATED.manifest.distribution,
        classes: { NOT: 100, OFF: 100 },
        meanGate: { NOT: ascending, OFF: ascending },
      },
    },
  };
  const gated = (mean: number, off = 0.1) => reading(off, { gates: [mean, mean, mean], model: distributed });

  it('is a mean gate above a percentile', () => {
    const own = policy({ ...BAND, gates: { reviewAbovePercentile: 90 } });
    assert.equal(decisionOf(own, gated(0.9)), 'allow');
    assert.deepEqual(decide(own, [gated(0.91)], NOTHING), {
      decision: 'review',
      reasons: [{ code: 'high_gates', model: 'gated', value: 0.91, threshold: 0.9 }],
    });
    assert.deepEqual(
      decide(own, [gated(0.91, 0.9)], NOTHING).reasons.map(({ code }) => code),
      ['block_threshold'],
    );
  });

  it('is an error where the model has no such distribution', () => {
    const own = policy({ ...BAND, gates: { reviewAbovePercentile: 90 } });
    assert.throws(() => decisionOf(own, hateReading(0.1, 0.1)), { code: 'policy_unfit' });
  });

  it('is a disguise that the policy watches, and no other', () => {
    const own = policy({ ...BAND, evasion: { review: ['bidi', 'confusables'] } });
    const found = (kinds: object) => decide(own, [reading(0.1)], { evasion: { kinds } });
    assert.deepEqual(found({ confusables: 2, leetspeak: 1 }), {
      decision: 'review',
      reasons: [{ code: 'evasion', kinds: ['confusables'] }],
    });
    assert.deepEqual(found({ leetspeak: 1 }), { decision: 'allow', reasons: [] });
  });

  it('is a language that is not listed, as gravely as the policy says', () => {
    const foreign: Language = { detected: 'de', supported: false };
    const found = (unlisted: Decision, language: Language | undefined) =>
      decide(policy({ ...BAND, languages: { unlisted } }), [reading(0.1)], { ...NOTHING, language });
    assert.deepEqual(found('review', foreign), { decision: 'review', reasons: [{ code: 'unlisted_language' }] });
    assert.equal(found('block', foreign).decision, 'block');
    assert.deepEqual(found('allow', foreign), { decision: 'allow', reasons: [] });
    assert.equal(found('block', { detected: 'en', supported: true }).decision, 'allow');
    assert.equal(found('block', { detected: null, supported: null }).decision, 'allow');
    assert.equal(found('block', undefined).decision, 'allow');
    assert.equal(decide(BAND, [reading(0.1)], { ...NOTHING, language: foreign }).decision, 'allow');
  });
});

describe('two forms of a text', () => {
  const folded = (off: number): Form => [reading(off, { folded: true })];
  const asSent = (off: number): Form => [reading(off)];
  const shown = (sent: number, undone: number) => {
    const { form, decision } = decideForms(BAND, [asSent(sent), folded(undone)], NOTHING);
    return [decision, form[0].folded];
  };

  it('are decided on by the graver of the two', () => {
    assert.deepEqual(shown(0.1, 0.9), ['block', true]);
    assert.deepEqual(shown(0.9, 0.1), ['block', false]);
    assert.deepEqual(shown(0.5, 0.9), ['block', true]);
  });

  it('are shown by the higher score where they are decided on alike, and as sent where that is equal', () => {
    assert.deepEqual(shown(0.1, 0.2), ['allow', true]);
    assert.deepEqual(shown(0.2, 0.1), ['allow', false]);
    assert.deepEqual(shown(0.5, 0.5), ['review', false]);
  });

  it('are never decided on more mildly than the text as it was sent, whatever the threshold is for', () => {
    const hate = policy({ thresholds: { labels: { hate: { block: 0.5 } } } });
    const undone: Form = [{ ...hateReading(0.75, 0.2), folded: true }];
    const { decision, form, reasons } = decideForms(hate, [[hateReading(0.3, 0.6)], undone], NOTHING);
    assert.equal(decision, 'block');
    assert.equal(form[0].folded, false);
    assert.deepEqual(reasons, [{ code: 'block_threshold', model: 'plain', label: 'hate', value: 0.6, threshold: 0.5 }]);
  });
});

describe('any policy', () => {
  const band = fc
    .tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }))
    .map(([one, other]) => ({ review: Math.min(one, other), block: Math.max(one, other) }));
  const policies = fc.record({
    combine: fc.constantFrom('any' as const, 'all' as const, 'max' as const),
    thresholds: fc.record({ offensive: band }),
  });
  const score = fc.double({ min: 0, max: 1, noNaN: true });

  it('never decides more mildly about a text that is more probably offensive', () => {
    fc.assert(
      fc.property(policies, score, score, score, (own, first, second, rise) => {
        const both = policy({ ...own, models: [{ model: 'gated' }, { model: 'plain' }] });
        const higher = Math.max(first, rise);
        const before = decisionOf(both, reading(first), hateReading(second, 0));
        assert.ok(rank(decisionOf(both, reading(higher), hateReading(second, 0))) >= rank(before));
      }),
    );
  });

  it('decides between the mildest and the gravest of its models', () => {
    fc.assert(
      fc.property(policies, score, score, ({ thresholds, combine }, first, second) => {
        const alone = policy({ thresholds });
        const both = policy({ thresholds, combine, models: [{ model: 'gated' }, { model: 'plain' }] });
        const ranks = [reading(first), hateReading(second, 0)].map((one) => rank(decisionOf(alone, one)));
        const found = rank(decisionOf(both, reading(first), hateReading(second, 0)));
        assert.equal(found, combine === 'all' ? Math.min(...ranks) : Math.max(...ranks));
      }),
    );
  });

  it('gives reasons exactly where it does not allow', () => {
    fc.assert(
      fc.property(policies, score, score, (own, first, second) => {
        const both = policy({ ...own, models: [{ model: 'gated' }, { model: 'plain' }] });
        const { decision, reasons } = decide(both, [reading(first), hateReading(second, 0)], NOTHING);
        assert.equal(reasons.length === 0, decision === 'allow');
      }),
    );
  });
});
