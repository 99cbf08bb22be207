import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import {
  bandOf,
  cheapestBand,
  measure,
  type ReadText,
  scoresOf,
  sweepBlock,
  withBand,
} from '../../../src/cli/replay/measure.ts';
import { drawSweep } from '../../../src/cli/replay/plot.ts';
import { DEFAULT_POLICY, type Policy } from '../../../src/moderation/policy.ts';
import { GATED, PLAIN } from '../../api/fake-engine.ts';

const POLICY: Policy = {
  schemaVersion: 1,
  name: 'forum',
  version: '1',
  thresholds: { offensive: { review: 0.4, block: 0.8 } },
};

function read(off: number, offensive: boolean): ReadText {
  const reading = { model: GATED, result: { probabilities: [1 - off, off], gates: [] }, folded: false };
  return { offensive, forms: [[reading]], evasion: { kinds: {}, folded: false } };
}

/** Blocked: 2 offensive, 1 harmless. Reviewed: 1 and 1. Allowed: 1 and 4. */
const TEXTS = [
  read(0.95, true),
  read(0.85, true),
  read(0.8, false),
  read(0.6, true),
  read(0.4, false),
  read(0.3, true),
  ...[0.3, 0.2, 0.1, 0.05].map((off) => read(off, false)),
];
const COSTS = { falsePositive: 5, falseNegative: 3, review: 1 };

describe('what a policy makes of labelled texts', () => {
  it('is counted, and costs what is said', () => {
    assert.deepEqual(measure(POLICY, TEXTS, COSTS), {
      counts: {
        allow: { offensive: 1, harmless: 4 },
        review: { offensive: 1, harmless: 1 },
        block: { offensive: 2, harmless: 1 },
      },
      precision: 2 / 3,
      recall: 2 / 4,
      caught: 3 / 4,
      reviewLoad: 2 / 10,
      cost: 1_000,
    });
  });

  it('has no precision where nothing is blocked', () => {
    const mild = withBand(POLICY, 'offensive', { review: 0.4, block: 1 });
    assert.equal(measure(mild, TEXTS, COSTS).precision, undefined);
  });
});

describe('other thresholds', () => {
  it('move block and leave review where it was, or with block', () => {
    const sweep = sweepBlock(POLICY, 'offensive', TEXTS, COSTS);
    assert.equal(sweep.length, 99);
    const at = (threshold: number) => sweep.find((point) => point.threshold === threshold);
    assert.deepEqual(at(0.9), {
      threshold: 0.9,
      ...measure(withBand(POLICY, 'offensive', { review: 0.4, block: 0.9 }), TEXTS, COSTS),
    });
    assert.equal(at(0.2)?.reviewLoad, 0);
    const { threshold: _, ...present } = at(0.8) ?? assert.fail();
    assert.deepEqual(present, measure(POLICY, TEXTS, COSTS));
  });

  it('block no more texts the higher they are', () => {
    const recalls = sweepBlock(POLICY, 'offensive', TEXTS, COSTS).map(({ recall }) => recall);
    assert.deepEqual(
      recalls,
      recalls.toSorted((one, other) => other - one),
    );
  });

  it('are searched for the lowest cost', () => {
    const found = cheapestBand(POLICY, 'offensive', TEXTS, COSTS);
    for (let block = 1; block <= 20; block++)
      for (let review = 1; review <= block; review++) {
        const band = { review: review / 20, block: block / 20 };
        assert.ok(found.cost <= measure(withBand(POLICY, 'offensive', band), TEXTS, COSTS).cost);
      }
    assert.equal(measure(withBand(POLICY, 'offensive', found.band), TEXTS, COSTS).cost, found.cost);
  });

  it('are looked up where a use stands for them', () => {
    assert.deepEqual(bandOf(DEFAULT_POLICY, 'offensive', TEXTS), { review: 0.5, block: 0.9 });
    assert.deepEqual(bandOf({ ...POLICY, thresholds: { offensive: { block: 0.7 } } }, 'offensive', TEXTS), {
      review: 0.7,
      block: 0.7,
    });
  });

  it('replace those of every model and label that has the score', () => {
    const many: Policy = {
      ...POLICY,
      models: [{ model: 'gated' }, { model: 'plain', thresholds: { labels: { hate: { block: 0.3 } } } }],
    };
    assert.deepEqual(scoresOf(many), ['offensive', 'labels.hate']);
    const band = { review: 0.1, block: 0.2 };
    assert.deepEqual(withBand(many, 'offensive', band), { ...many, thresholds: { offensive: band } });
    assert.deepEqual(withBand(many, 'labels.hate', band).models?.[1], {
      model: 'plain',
      thresholds: { labels: { hate: band } },
    });
    const text: ReadText = {
      ...(TEXTS[0] as ReadText),
      forms: [
        [
          ...(TEXTS[0] as ReadText).forms[0],
          { model: PLAIN, result: { probabilities: [0.5, 0.25, 0.25], gates: [] }, folded: false },
        ],
      ],
    };
    assert.deepEqual(bandOf(many, 'labels.hate', [text]), { review: 0.3, block: 0.3 });
  });
});

describe('the plot of a sweep', () => {
  it('is well-formed whatever the policy is called, and holds each curve', () => {
    const svg = drawSweep('a <b> & "c"', sweepBlock(POLICY, 'offensive', TEXTS, COSTS), 0.8);
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"[\s\S]*<\/svg>\n$/);
    assert.doesNotMatch(svg, /<b>|NaN|undefined|Infinity/);
    assert.equal(svg.match(/<polyline /g)?.length, 5);
  });

  it('can be drawn where nothing costs anything', () => {
    const free = { falsePositive: 0, falseNegative: 0, review: 0 };
    assert.doesNotMatch(drawSweep('free', sweepBlock(POLICY, 'offensive', TEXTS, free), 0.8), /NaN|Infinity/);
  });
});
