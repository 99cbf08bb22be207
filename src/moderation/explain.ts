/**
 * Which words drove the `offensive` score: occlusion. A text is classified again without each of its words, and a word's
 * contribution is how much lower the score then is. What that means and how faithful it is: docs/explanations.md.
 */
import pLimit from 'p-limit';

import type { Manifest } from '../bundle/manifest.ts';
import { type Engine, EngineError, type ServedModel, type TextOutcome, type TextResult } from '../engine/types.ts';
import { passagesOf } from './passages.ts';
import { offensiveScore, roundScore } from './scores.ts';
import { without } from './without.ts';
import { groupWords, type Span, wordsOf } from './words.ts';

/** Requests explained at once; others wait, so that explanations never fill the engine's queue. */
const CONCURRENT = 2;
/** Requests that may wait to be explained. */
const WAITING = 32;
/** UTF-16 code units of all variants of one text: tokenising them stays cheap however long the text is. */
const VARIANT_CHARACTERS = 200_000;

export interface Contribution extends Span {
  /** How much lower `offensive` is without this part of the text; below 0 where the part makes it milder. */
  readonly contribution: number;
}

/** Positions are in UTF-16 code units of the text as it was sent. */
export interface Explanation {
  /** What was explained: the whole text, or of a text of several windows the passage with the highest score. */
  readonly passage: Span;
  /** `offensive` of the passage: what contributions are differences from. */
  readonly offensive: number;
  /** Every word of the passage in order; neighbouring words together where there are more than may be taken away. */
  readonly spans: readonly Contribution[];
  /** Words of the passage. */
  readonly words: number;
  /** What it cost: texts classified besides the text itself, and their tokens. */
  readonly variants: number;
  readonly tokens: number;
}

interface Subject {
  readonly text: string;
  /** What the engine found for the text. */
  readonly result: TextResult;
  /** Position of the text in the request, for errors. */
  readonly index: number;
}

export interface ExplainRequest {
  /** What answered. */
  readonly model: ServedModel;
  readonly texts: readonly Subject[];
  /** Most words or groups of words that are taken away from one text, at least 1. */
  readonly words: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * One explanation a text, in order.
 *
 * @throws EngineError whose index is that of the text in the request
 */
export type Explain = (request: ExplainRequest) => Promise<readonly Explanation[]>;

/** A text and others made from it, to be classified. */
interface Job {
  readonly subject: Subject;
  readonly variants: readonly string[];
}

interface Score {
  readonly offensive: number;
  readonly tokens: number;
}

export function createExplainer(engine: Pick<Engine, 'classifyEach'>): Explain {
  const limit = pLimit(CONCURRENT);
  return async ({ model, texts, words: most, signal }) => {
    if (limit.pendingCount >= WAITING)
      throw new EngineError('overloaded', 'Too many explanations are waiting', { retryAfterMs: 1_000 });

    /** The scores of each job's variants, from one call. */
    async function scoresOf(jobs: readonly Job[]): Promise<Score[][]> {
      const flat = jobs.flatMap(({ variants }) => variants);
      if (flat.length === 0) return jobs.map(() => []);
      signal?.throwIfAborted();
      const reference = `${model.name}@${model.version}`;
      // Bulk: whoever only wants a score goes first.
      const { results } = await engine.classifyEach({ model: reference, texts: flat, signal, priority: 'bulk' });
      let answered = 0;
      return jobs.map(({ subject, variants }) => {
        const own = results.slice(answered, answered + variants.length);
        answered += variants.length;
        return own.map((outcome) => score(model.manifest, outcome, subject.index));
      });
    }

    return limit(async () => {
      const passages = await decidingPassages(model.manifest, texts, scoresOf);
      const plans = passages.map((found) => {
        const words = wordsOf(found.passageText);
        const affordable = Math.max(1, Math.floor(VARIANT_CHARACTERS / found.passageText.length));
        const groups = groupWords(words, Math.min(most, affordable));
        const variants = groups.map((group) => without(found.passageText, [group]));
        return { ...found, words: words.length, groups, variants };
      });
      const scores = await scoresOf(plans);
      return plans.map(({ passage, offensive, words, groups, cost }, i): Explanation => {
        const found = scores[i] as Score[];
        return {
          passage,
          offensive,
          spans: groups.map(({ begin, end }, k) => ({
            begin: passage.begin + begin,
            end: passage.begin + end,
            contribution: roundScore(offensive - (found[k] as Score).offensive),
          })),
          words,
          variants: cost.variants + groups.length,
          tokens: cost.tokens + tokensOf(found),
        };
      });
    });
  };
}

/**
 * A text of one window is explained whole. Of a longer one, whose most offensive window decides, no single word lowers
 * the score while another window is as offensive; so the passage with the highest score of its own is explained.
 */
async function decidingPassages(
  manifest: Manifest,
  texts: readonly Subject[],
  scoresOf: (jobs: readonly Job[]) => Promise<Score[][]>,
) {
  const { input } = manifest;
  const fits = input.maxTokens - input.prefixIds.length - input.suffixIds.length;
  const jobs = texts.map((subject) => {
    const { text, result } = subject;
    const passages = result.windows.length > 1 ? passagesOf(text, result.tokens, fits) : [];
    return { subject, passages, variants: passages.map(({ begin, end }) => text.slice(begin, end)) };
  });
  const scores = await scoresOf(jobs);
  return jobs.map(({ subject, passages }, i) => {
    const found = scores[i] as Score[];
    const cost = { variants: passages.length, tokens: tokensOf(found) };
    if (passages.length === 0) {
      const { text, result } = subject;
      const offensive = offensiveScore(manifest, result.probabilities);
      return { subject, passage: { begin: 0, end: text.length }, passageText: text, offensive, cost };
    }
    const offensive = Math.max(...found.map((one) => one.offensive));
    const passage = passages[found.findIndex((one) => one.offensive === offensive)] as Span;
    return { subject, passage, passageText: subject.text.slice(passage.begin, passage.end), offensive, cost };
  });
}

/** Nothing left to classify cannot offend: its score is 0. */
function score(manifest: Manifest, outcome: TextOutcome, index: number): Score {
  if (!(outcome instanceof EngineError))
    return { offensive: offensiveScore(manifest, outcome.probabilities), tokens: outcome.tokens };
  if (outcome.code === 'empty_after_normalization') return { offensive: 0, tokens: 0 };
  const { code, message, retryAfterMs } = outcome;
  throw new EngineError(code, message, { index, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
}

function tokensOf(scores: readonly Score[]): number {
  return scores.reduce((sum, { tokens }) => sum + tokens, 0);
}
