/** What the native route says, which every other protocol must say too. */
import assert from 'node:assert/strict';

import type { ClassifyResponse } from '../../../src/api/classify-response.ts';

/** Of our own writing: several scripts, an emoji, and one that takes several windows. */
export const TEXTS: readonly string[] = [
  'Have a lovely day, everyone.',
  'You are a complete clown 🤡',
  'ты молодец, спасибо',
  'one word after the other '.repeat(40),
];

export interface NativeScores {
  readonly label: string;
  readonly probabilities: Readonly<Record<string, number>>;
  readonly offensive: number;
  readonly gates: readonly number[];
  readonly tokens: number;
}

export async function nativeScores(url: string, texts: readonly string[]): Promise<NativeScores[]> {
  const answer = await fetch(`${url}/classify`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ texts }),
  });
  assert.equal(answer.status, 200);
  const { results } = (await answer.json()) as ClassifyResponse;
  return results.map((result) => {
    assert.ok(!('error' in result));
    const { label, probabilities, offensive, gates, tokens } = result;
    const modules = (gates?.layers ?? []).flatMap(({ layer: _layer, ...values }) => Object.values(values));
    return { label, probabilities, offensive, gates: modules, tokens };
  });
}

/** Classes and probabilities, most probable first. */
export function ranked({ probabilities }: NativeScores): { label: string; score: number }[] {
  return Object.entries(probabilities)
    .map(([label, score]) => ({ label, score }))
    .sort((one, other) => other.score - one.score);
}

/** float32 has seven digits of the six decimals. */
export function assertClose(found: readonly number[], expected: readonly number[]): void {
  assert.equal(found.length, expected.length);
  for (const [index, value] of expected.entries()) {
    assert.ok(Math.abs((found[index] as number) - value) < 1e-7, `${found[index]} is not ${value}`);
  }
}
