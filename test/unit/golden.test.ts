import assert from 'node:assert/strict';
import { test } from 'node:test';

import { compareGolden, type Golden, type Replayed } from '../../src/bundle/golden.ts';

const answer = {
  text: 'SECRET',
  normalized: 'secret',
  windows: [
    { ids: [1, 2], probabilities: [0.25, 0.75], gates: [0.5] },
    { ids: [1, 3], probabilities: [0.5, 0.5], gates: [0.5] },
  ],
  combined: { probabilities: [0.25, 0.75], gates: [0.5] },
};

const golden: Golden = {
  tolerance: { fp32: { probabilities: 0.001, gates: 0.01 } },
  items: [{ text: '', error: 'empty_after_normalization' }, answer],
};

const good: Replayed[] = [{ error: 'empty_after_normalization' }, answer];

const compare = (second: Replayed, first: Replayed = good[0] as Replayed) =>
  compareGolden(golden, 'fp32', [first, second], 'alone');

test('agreement within the tolerance', () => {
  assert.deepEqual(compareGolden(golden, 'fp32', good, 'alone'), []);
  const near = { ...answer, combined: { probabilities: [0.2505, 0.7495], gates: [0.509] } };
  assert.deepEqual(compare(near), []);
});

test('a difference of exactly the tolerance is agreement, the least more is none, in either direction', () => {
  const exact = { ...golden, tolerance: { fp32: { probabilities: 0.25, gates: 0.25 } } };
  const shifted = (by: number) => {
    const combined = { probabilities: [0.25 + by, 0.75 - by], gates: [0.5 + by] };
    return compareGolden(exact, 'fp32', [good[0] as Replayed, { ...answer, combined }], 'alone');
  };
  for (const by of [0.25, -0.25, 0]) assert.deepEqual(shifted(by), []);
  for (const by of [0.250001, -0.250001])
    assert.deepEqual(shifted(by), [
      'golden item 1 alone: the combined answer differs from PyTorch by 0.250 in probabilities, allowed 0.25',
    ]);
});

test('the largest difference of all is the one that is said, wherever it stands', () => {
  for (const probabilities of [
    [0.35, 0.77],
    [0.27, 0.85],
  ])
    assert.deepEqual(compare({ ...answer, combined: { probabilities, gates: [0.5] } }), [
      'golden item 1 alone: the combined answer differs from PyTorch by 0.100 in probabilities, allowed 0.001',
    ]);
  assert.match(
    compare({ ...answer, combined: { probabilities: [Number.NaN, 0.75], gates: [0.5] } })[0] as string,
    /by NaN in probabilities/,
  );
});

const window = (change: object) => ({ ...answer, windows: [answer.windows[0], { ...answer.windows[1], ...change }] });

const CASES: readonly (readonly [string, object, RegExp])[] = [
  ['an error instead of an answer', { error: 'invalid_unicode' }, /expected an answer, got invalid_unicode/],
  ['another normalised text', { ...answer, normalized: 'Secret' }, /normalises differently/],
  ['a window less', { ...answer, windows: [answer.windows[0]] }, /expected 2 windows, got 1/],
  ['another first id', window({ ids: [2, 3] }), /window 1 has other token ids/],
  ['more ids', window({ ids: [1, 3, 4] }), /window 1 has other token ids/],
  ['a window more', { ...answer, windows: [...answer.windows, answer.windows[0]] }, /expected 2 windows, got 3/],
  [
    'another number of gates',
    { ...answer, combined: { probabilities: [0.25, 0.75], gates: [] } },
    /the combined answer has 0 gates, expected 1/,
  ],
  ['other ids', window({ ids: [1, 4] }), /window 1 has other token ids/],
  ['fewer ids', window({ ids: [1] }), /window 1 has other token ids/],
  [
    'other probabilities',
    window({ probabilities: [0.51, 0.49] }),
    /window 1 differs from PyTorch by 0\.0100 in probab/,
  ],
  ['other gates', window({ gates: [0.6] }), /window 1 differs from PyTorch by 0\.100 in gates, allowed 0\.01/],
  ['no number', window({ gates: [Number.NaN] }), /window 1 differs from PyTorch by NaN/],
  ['another number of labels', window({ probabilities: [1] }), /window 1 has 1 probabilities, expected 2/],
  [
    'another combination',
    { ...answer, combined: { probabilities: [0.5, 0.5], gates: [0.5] } },
    /the combined answer differs/,
  ],
];

for (const [name, outcome, expected] of CASES)
  test(`disagreement: ${name}`, () => {
    const problems = compare(outcome as Replayed);
    assert.equal(problems.length, 1);
    assert.match(problems[0] as string, /^golden item 1 alone: /);
    assert.match(problems[0] as string, expected);
    assert.doesNotMatch(problems[0] as string, /secret/i);
  });

test('an answer instead of an error, and no answer at all', () => {
  assert.match(compare(answer, answer)[0] as string, /item 0 alone: expected empty_after_normalization, got an answer/);
  assert.match(compareGolden(golden, 'fp32', [good[0] as Replayed], 'alone')[0] as string, /was not answered/);
  assert.match(
    compare(answer, { error: 'invalid_unicode' })[0] as string,
    /expected empty_after_.*, got invalid_unicode/,
  );
});

test('a precision without tolerance', () => {
  assert.match(compareGolden(golden, 'int4', good, 'alone')[0] as string, /no tolerance for precision int4/);
});
