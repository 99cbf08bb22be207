/** What a policy makes of labelled texts, and what it would make of them with other thresholds. Pure. */
import { decideForms, thresholdValue } from '../../moderation/decide.ts';
import type { Decision, Policy, PolicyThresholds } from '../../moderation/policy.ts';
import type { Evasion, Forms, Language } from '../../moderation/types.ts';

/** A labelled text after the models have read it. */
export interface ReadText {
  readonly offensive: boolean;
  readonly forms: Forms;
  readonly evasion: Evasion;
  readonly language?: Language | undefined;
}

/** In any unit, as long as it is the same. */
export interface Costs {
  /** Of a harmless text that is blocked. */
  readonly falsePositive: number;
  /** Of an offensive text that is allowed. */
  readonly falseNegative: number;
  /** Of a text that a person must look at, who is taken to decide rightly. */
  readonly review: number;
}

export interface Measured {
  readonly counts: Readonly<Record<Decision, { readonly offensive: number; readonly harmless: number }>>;
  /** Of blocked texts the share that is offensive; undefined where none is blocked. */
  readonly precision: number | undefined;
  /** Of offensive texts the share that is blocked. */
  readonly recall: number;
  /** Of offensive texts the share that is blocked or reviewed. */
  readonly caught: number;
  /** Of all texts the share that is reviewed. */
  readonly reviewLoad: number;
  /** For 1,000 texts. */
  readonly cost: number;
}

export interface Band {
  /** From this score on a text is reviewed; equal to `block` for no review. */
  readonly review: number;
  readonly block: number;
}

export function measure(policy: Policy, texts: readonly ReadText[], costs: Costs): Measured {
  const counts = {
    allow: { offensive: 0, harmless: 0 },
    review: { offensive: 0, harmless: 0 },
    block: { offensive: 0, harmless: 0 },
  };
  for (const text of texts) {
    const { decision } = decideForms(policy, text.forms, text);
    counts[decision][text.offensive ? 'offensive' : 'harmless']++;
  }
  const { allow, review, block } = counts;
  const offensive = allow.offensive + review.offensive + block.offensive;
  const blocked = block.offensive + block.harmless;
  const reviewed = review.offensive + review.harmless;
  const cost = costs.falsePositive * block.harmless + costs.falseNegative * allow.offensive + costs.review * reviewed;
  return {
    counts,
    precision: blocked === 0 ? undefined : block.offensive / blocked,
    recall: block.offensive / offensive,
    caught: (block.offensive + review.offensive) / offensive,
    reviewLoad: reviewed / texts.length,
    cost: (cost / texts.length) * 1_000,
  };
}

/** `offensive`, or `labels.` and the name of a label: a label may be called offensive too. */
export type ScoreName = string;
const LABEL = 'labels.';

/** The scores for which the policy has thresholds, `offensive` first. */
export function scoresOf(policy: Policy): ScoreName[] {
  const all = thresholdsOf(policy);
  const labels = all.flatMap(({ labels = {} }) => Object.keys(labels).map((label) => LABEL + label));
  const offensive = all.some((own) => own.offensive !== undefined) ? ['offensive'] : [];
  return [...new Set([...offensive, ...labels])];
}

function thresholdsOf({ models = [], thresholds }: Policy): PolicyThresholds[] {
  return [thresholds, ...models.map((own) => own.thresholds)].flatMap((own) => own ?? []);
}

/** The policy with another band for one score, wherever it has one. */
export function withBand(policy: Policy, score: ScoreName, band: Band): Policy {
  const replaced = (own: PolicyThresholds): PolicyThresholds => {
    if (score === 'offensive') return own.offensive === undefined ? own : { ...own, offensive: band };
    const label = score.slice(LABEL.length);
    return own.labels?.[label] === undefined ? own : { ...own, labels: { ...own.labels, [label]: band } };
  };
  return {
    ...policy,
    ...(policy.thresholds === undefined ? {} : { thresholds: replaced(policy.thresholds) }),
    ...(policy.models === undefined
      ? {}
      : {
          models: policy.models.map((own) =>
            own.thresholds === undefined ? own : { ...own, thresholds: replaced(own.thresholds) },
          ),
        }),
  };
}

/** Where the policy begins to review and to block by a score; of several models, where the first of them does. */
export function bandOf(policy: Policy, score: ScoreName, texts: readonly ReadText[]): Band {
  const served = (texts[0] as ReadText).forms[0].map(({ model }) => model);
  const bands = served.flatMap((model, index) => {
    const own = policy.models?.[index]?.thresholds ?? policy.thresholds;
    const band = score === 'offensive' ? own?.offensive : own?.labels?.[score.slice(LABEL.length)];
    if (band === undefined) return [];
    const block = thresholdValue(band.block, model) ?? 1;
    return [{ review: thresholdValue(band.review, model) ?? block, block }];
  });
  return {
    review: Math.min(...bands.map(({ review }) => review)),
    block: Math.min(...bands.map(({ block }) => block)),
  };
}

export interface SweepPoint extends Measured {
  readonly threshold: number;
}

/** The block threshold varied over 0.01 to 0.99; review begins where it did, or with block where that is lower. */
export function sweepBlock(policy: Policy, score: ScoreName, texts: readonly ReadText[], costs: Costs): SweepPoint[] {
  const { review } = bandOf(policy, score, texts);
  return Array.from({ length: 99 }, (_, index) => {
    const threshold = (index + 1) / 100;
    const varied = withBand(policy, score, { review: Math.min(review, threshold), block: threshold });
    return { threshold, ...measure(varied, texts, costs) };
  });
}

/** The band with the lowest cost on a grid of steps of 0.05; of equals the one that blocks least. */
export function cheapestBand(
  policy: Policy,
  score: ScoreName,
  texts: readonly ReadText[],
  costs: Costs,
): Measured & { readonly band: Band } {
  const steps = Array.from({ length: 20 }, (_, index) => (index + 1) / 20);
  const found = steps.flatMap((block) =>
    steps
      .filter((review) => review <= block)
      .map((review) => {
        const band = { review, block };
        return { band, ...measure(withBand(policy, score, band), texts, costs) };
      }),
  );
  return found.reduce((best, one) => (one.cost <= best.cost ? one : best));
}
