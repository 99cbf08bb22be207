/**
 * Do explanations say what the model does? Comprehensiveness and sufficiency (DeYoung et al., ERASER, ACL 2020) of the
 * words that an explanation ranks first, against words drawn at random, on HateXplain's validation split.
 *
 *     DSLORA_DATA_DIR=… node bench/faithfulness.ts [--texts 500] [--model hatexplain-minilm]
 *
 * Prints a table and one line of JSON, never a text. docs/explanations.md holds the figures.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { createEngine } from '../src/engine/engine.ts';
import type { Engine, ServedModel, TextResult } from '../src/engine/types.ts';
import { createExplainer, type Explanation } from '../src/moderation/explain.ts';
import { gateContext } from '../src/moderation/gate-context.ts';
import { offensiveScore } from '../src/moderation/scores.ts';
import { without } from '../src/moderation/without.ts';
import type { Span } from '../src/moderation/words.ts';
import { createRandom } from './random.ts';
import { mean, quantile } from './statistics.ts';

/** Shares of a text's words, rounded up, that count as its rationale; ERASER's without the two smallest (posts are short). */
const SHARES = [0.1, 0.2, 0.5] as const;
/** Random rationales a text and share; their mean counts. */
const DRAWS = 3;
const RESAMPLES = 2_000;
const TEXTS_A_CALL = 400;

const { values: options } = parseArgs({
  options: { texts: { type: 'string', default: '500' }, model: { type: 'string', default: 'hatexplain-minilm' } },
});
const dataDir = process.env.DSLORA_DATA_DIR;
if (dataDir === undefined) throw new Error('Set DSLORA_DATA_DIR to the folder that holds hatexplain/hatexplain.jsonl');

const random = createRandom(7);
const texts = shuffled(validationTexts(dataDir)).slice(0, Number(options.texts));
const modelsDir = fileURLToPath(new URL('../models', import.meta.url));
const engine = await createEngine({
  modelsDir,
  workers: 1,
  threads: 1,
  queueCharacters: 100_000_000,
  queueWaitMs: 600_000,
});
try {
  const model = engine.find(options.model);
  if (model === undefined) throw new Error(`No model ${options.model} in models/`);
  await measure(engine, model);
} finally {
  await engine.close();
}

/** One text with the words that its explanation ranks, those that speak most for the answer first. */
interface Ranked {
  readonly text: string;
  /** The probability of what the model answers for any text: offensive where `flagged`, else not offensive. */
  readonly confidence: (offensive: number) => number;
  readonly full: number;
  readonly flagged: boolean;
  readonly words: readonly Span[];
}

/** Of one text. */
interface Faithfulness {
  /** How far the answer's probability falls without the rationale: higher is better. */
  readonly comprehensiveness: number;
  /** How far it falls with nothing but the rationale: lower is better. */
  readonly sufficiency: number;
}

async function measure(engine: Engine, model: ServedModel): Promise<void> {
  const { manifest } = model;
  const results = await classify(engine, model, texts);
  const explanations: Explanation[] = [];
  const explain = createExplainer(engine);
  for (let from = 0; from < texts.length; from += 10) {
    const some = texts.slice(from, from + 10);
    const subjects = some.map((text, i) => ({ text, result: results[from + i] as TextResult, index: i }));
    explanations.push(...(await explain({ model, words: 1_000, texts: subjects })));
  }
  const threshold = manifest.thresholds.balanced.value;
  const ranked = texts.flatMap((text, i): Ranked[] => {
    const result = results[i] as TextResult;
    const { spans } = explanations[i] as Explanation;
    // One window, and something left whatever is taken away.
    if (result.windows.length > 1 || spans.length < 2) return [];
    const full = offensiveScore(manifest, result.probabilities);
    const flagged = full >= threshold;
    const sign = flagged ? 1 : -1;
    const words = spans.toSorted((one, two) => sign * (two.contribution - one.contribution));
    return [{ text, full, flagged, words, confidence: (offensive) => (flagged ? offensive : 1 - offensive) }];
  });

  const cells = await Promise.all(
    SHARES.map(async (share) => ({
      share,
      explained: await faithfulness(engine, model, ranked, (words) => [words.slice(0, count(words, share))]),
      drawn: await faithfulness(engine, model, ranked, (words) =>
        Array.from({ length: DRAWS }, () => shuffled(words).slice(0, count(words, share))),
      ),
    })),
  );

  const table = cells.flatMap(({ share, explained, drawn }) =>
    [true, false].flatMap((flagged) => {
      const members = ranked.flatMap((one, i) => (one.flagged === flagged ? [i] : []));
      return (['comprehensiveness', 'sufficiency'] as const).map((measure) => ({
        answers: flagged ? 'flagged' : 'not flagged',
        n: members.length,
        share,
        measure,
        explained: interval(members.map((i) => (explained[i] as Faithfulness)[measure])),
        random: interval(members.map((i) => (drawn[i] as Faithfulness)[measure])),
        difference: interval(
          members.map((i) => (explained[i] as Faithfulness)[measure] - (drawn[i] as Faithfulness)[measure]),
        ),
      }));
    }),
  );
  console.log('| answer | n | words | measure | explained | random | difference |\n|---|---|---|---|---|---|---|');
  for (const row of table) {
    const figures = [row.explained, row.random, row.difference].map(shown).join(' | ');
    console.log(`| ${row.answers} | ${row.n} | ${row.share * 100} % | ${row.measure} | ${figures} |`);
  }
  const cost = explanations.map(({ variants, tokens }) => ({ variants, tokens }));
  const summary = {
    model: `${model.name}@${model.version}`,
    texts: texts.length,
    used: ranked.length,
    variants: mean(cost.map(({ variants }) => variants)),
    tokens: mean(cost.map(({ tokens }) => tokens)),
    gatePercentiles: uniformity(model, results),
  };
  console.log(JSON.stringify({ ...summary, table }));
}

/** @param rationales several of one text are averaged */
async function faithfulness(
  engine: Engine,
  model: ServedModel,
  ranked: readonly Ranked[],
  rationales: (words: readonly Span[]) => readonly (readonly Span[])[],
): Promise<Faithfulness[]> {
  const chosen = ranked.map(({ words }) => rationales(words));
  const variants = ranked.flatMap(({ text, words }, i) =>
    (chosen[i] as readonly (readonly Span[])[]).flatMap((rationale) => [
      without(text, inOrder(rationale)),
      without(text, inOrder(words.filter((word) => !rationale.includes(word)))),
    ]),
  );
  const scores = await offensiveScores(engine, model, variants);
  let at = 0;
  return ranked.map(({ full, confidence }, i) => {
    const drops = (chosen[i] as readonly unknown[]).map(() => {
      const [lacking, only] = [scores[at] as number, scores[at + 1] as number];
      at += 2;
      return {
        comprehensiveness: confidence(full) - confidence(lacking),
        sufficiency: confidence(full) - confidence(only),
      };
    });
    return {
      comprehensiveness: mean(drops.map((drop) => drop.comprehensiveness)),
      sufficiency: mean(drops.map((drop) => drop.sufficiency)),
    };
  });
}

async function classify(engine: Engine, model: ServedModel, all: readonly string[]): Promise<TextResult[]> {
  const found: TextResult[] = [];
  for (let from = 0; from < all.length; from += TEXTS_A_CALL) {
    const { results } = await engine.classify({ model: model.name, texts: all.slice(from, from + TEXTS_A_CALL) });
    found.push(...results);
  }
  return found;
}

/** Nothing left to classify counts as 0, as in an explanation. */
async function offensiveScores(engine: Engine, model: ServedModel, all: readonly string[]): Promise<number[]> {
  const found: number[] = [];
  for (let from = 0; from < all.length; from += TEXTS_A_CALL) {
    const { results } = await engine.classifyEach({ model: model.name, texts: all.slice(from, from + TEXTS_A_CALL) });
    for (const outcome of results) {
      if (!(outcome instanceof Error)) found.push(offensiveScore(model.manifest, outcome.probabilities));
      else if (outcome.code === 'empty_after_normalization') found.push(0);
      else throw outcome;
    }
  }
  return found;
}

/**
 * How far the percentiles of served gates are from uniform, as they would be on the split that they come from if the
 * served graph were the one that they were measured with: the largest distance of the distribution functions, in points.
 */
function uniformity(model: ServedModel, results: readonly TextResult[]): { mean: number; worstColumn: number } {
  const ranks = results.map(({ gates }) => gateContext(model.manifest)(gates));
  const distance = (percentiles: readonly number[]) => {
    const sorted = percentiles.toSorted((one, two) => one - two);
    return Math.max(...sorted.map((value, i) => Math.abs(value - (100 * (i + 0.5)) / sorted.length)));
  };
  return {
    mean: distance(ranks.map((rank) => rank.mean ?? Number.NaN)),
    worstColumn: Math.max(
      ...model.manifest.gates.map((_, column) => distance(ranks.map(({ columns }) => columns[column] as number))),
    ),
  };
}

/** Mean over texts with its 95 % bootstrap interval (percentiles of resampled texts). */
function interval(values: readonly number[]): { mean: number; low: number; high: number } {
  const means = Array.from({ length: RESAMPLES }, () =>
    mean(values.map(() => values[Math.floor(random() * values.length)] as number)),
  );
  return { mean: mean(values), low: quantile(means, 0.025), high: quantile(means, 0.975) };
}

function shown({ mean, low, high }: { mean: number; low: number; high: number }): string {
  return `${mean.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
}

function count(words: readonly Span[], share: number): number {
  return Math.ceil(words.length * share);
}

function inOrder(spans: readonly Span[]): Span[] {
  return spans.toSorted((one, two) => one.begin - two.begin);
}

function shuffled<T>(values: readonly T[]): T[] {
  const own = [...values];
  for (let last = own.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [own[last], own[other]] = [own[other] as T, own[last] as T];
  }
  return own;
}

function validationTexts(folder: string): string[] {
  const rows = readFileSync(join(folder, 'hatexplain', 'hatexplain.jsonl'), 'utf8')
    .split('\n')
    .filter(Boolean);
  return rows
    .map((row) => JSON.parse(row) as { split: string | null; text: string })
    .flatMap(({ split, text }) => (split === 'val' ? [text] : []));
}
