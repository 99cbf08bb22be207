/** From scores to a decision and what it rests on. Pure: no engine, no text. */
import type { ServedModel } from '../engine/types.ts';
import { meanGateAt } from './gate-context.ts';
import { DECISIONS, type Decision, type Policy, type PolicyThresholds } from './policy.ts';
import { labelScore, meanGate, offensiveScore } from './scores.ts';
import {
  type Evasion,
  type Form,
  type Forms,
  type Language,
  ModerationError,
  type Reading,
  type Reason,
} from './types.ts';

/** What is known of a text without a model. */
interface Context {
  readonly evasion: Pick<Evasion, 'kinds'>;
  readonly language?: Language | undefined;
}

/** Something that asks for a decision. */
interface Finding {
  readonly decision: Decision;
  readonly reason: Reason;
}

/** What is held against one threshold pair: a label's probability, or without `label` the offensive sum. */
interface Score {
  readonly label?: string;
  readonly value: number;
  readonly from: Reading;
}

interface Verdict {
  readonly decision: Decision;
  readonly reasons: readonly Reason[];
}

/**
 * The decision on the form of a text that is decided on most gravely, so that a disguise never makes one milder, and
 * neither does undoing it. Of equal ones, on the form with the higher `offensive` of the first model, and on the first.
 *
 * @throws ModerationError `policy_unfit` when a model lacks what the policy asks of it
 */
export function decideForms<R extends Reading>(
  policy: Policy,
  forms: Forms<R>,
  context: Context,
): Verdict & { readonly form: Form<R> } {
  const [first, ...others] = forms.map((form) => {
    const [{ model, result }] = form;
    return {
      form,
      offensive: offensiveScore(model.manifest, result.probabilities),
      ...decide(policy, form, context),
    };
  });
  const rank = (verdict: Verdict) => DECISIONS.indexOf(verdict.decision);
  const { form, decision, reasons } = others.reduce(
    (best, one) => {
      const graver = rank(one) - rank(best);
      return graver > 0 || (graver === 0 && one.offensive > best.offensive) ? one : best;
    },
    first as NonNullable<typeof first>,
  );
  return { form, decision, reasons };
}

/**
 * @param readings one for each model of the policy, in its order
 * @throws ModerationError `policy_unfit` when a model lacks what the policy asks of it
 */
export function decide(policy: Policy, readings: readonly Reading[], { evasion, language }: Context): Verdict {
  const scored = COMBINATIONS[policy.combine ?? 'any'](policy, readings);
  const raised = [
    ...gateFindings(policy, readings),
    ...evasionFindings(policy, evasion),
    ...languageFindings(policy, language),
  ];
  const decision = gravest([scored.decision, ...raised.map((finding) => finding.decision)]);
  if (decision === 'allow') return { decision, reasons: [] };
  // What is said is enough on its own: nothing milder, and no score that another model has outvoted.
  const supporting = [...(scored.decision === decision ? scored.findings : []), ...raised];
  return { decision, reasons: supporting.filter((one) => reaches(one.decision, decision)).map(({ reason }) => reason) };
}

interface Scored {
  readonly decision: Decision;
  readonly findings: readonly Finding[];
}

const COMBINATIONS: Readonly<
  Record<NonNullable<Policy['combine']>, (policy: Policy, readings: readonly Reading[]) => Scored>
> = {
  any: (policy, readings) => combineModels(policy, readings, gravest),
  all: (policy, readings) => combineModels(policy, readings, mildest),
  max(policy, readings) {
    const { thresholds = {} } = policy;
    const findings = thresholdFindings(thresholds, (label) =>
      highest(readings.flatMap((one) => score(one, label) ?? [])),
    );
    return { findings, decision: gravest(findings.map(({ decision }) => decision)) };
  },
};

function combineModels(
  policy: Policy,
  readings: readonly Reading[],
  combine: (decisions: readonly Decision[]) => Decision,
): Scored {
  const byModel = readings.map((reading, index) => {
    const thresholds = policy.models?.[index]?.thresholds ?? policy.thresholds ?? {};
    return thresholdFindings(thresholds, (label) => score(reading, label));
  });
  const decisions = byModel.map((findings) => gravest(findings.map(({ decision }) => decision)));
  return { findings: byModel.flat(), decision: combine(decisions) };
}

/** Of each score the gravest threshold that it reaches. */
function thresholdFindings(
  { offensive, labels = {} }: PolicyThresholds,
  scoreOf: (label?: string) => Score | undefined,
): Finding[] {
  const bands = [...(offensive === undefined ? [] : [[undefined, offensive] as const]), ...Object.entries(labels)];
  return bands.flatMap(([label, band]) => {
    const found = scoreOf(label);
    if (found === undefined) throw new ModerationError('policy_unfit', `No model of the policy has the label ${label}`);
    for (const decision of ['block', 'review'] as const) {
      const threshold = thresholdValue(band[decision], found.from.model);
      if (threshold !== undefined && found.value >= threshold)
        return [{ decision, reason: reasonOf(decision, found, threshold) }];
    }
    return [];
  });
}

/** The number that a limit of a policy stands for with a model. */
export function thresholdValue<Limit extends number | keyof ServedModel['manifest']['thresholds'] | undefined>(
  limit: Limit,
  { manifest }: ServedModel,
): number | Extract<Limit, undefined> {
  return typeof limit === 'string' ? manifest.thresholds[limit].value : (limit as number | Extract<Limit, undefined>);
}

function reasonOf(decision: 'block' | 'review', { label, value, from }: Score, threshold: number): Reason {
  return {
    code: `${decision}_threshold`,
    model: from.model.name,
    ...(label === undefined ? {} : { label }),
    value,
    threshold,
    ...(from.folded ? { folded: true as const } : {}),
  };
}

function score(from: Reading, label?: string): Score | undefined {
  const { manifest } = from.model;
  const { probabilities } = from.result;
  if (label === undefined) return { value: offensiveScore(manifest, probabilities), from };
  const value = labelScore(manifest, probabilities, label);
  return value === undefined ? undefined : { label, value, from };
}

function highest(scores: readonly Score[]): Score | undefined {
  return scores.reduce<Score | undefined>(
    (best, one) => (best !== undefined && best.value >= one.value ? best : one),
    undefined,
  );
}

function gateFindings({ gates }: Policy, readings: readonly Reading[]): Finding[] {
  if (gates === undefined) return [];
  return readings.flatMap(({ model, result, folded }) => {
    const threshold = meanGateAt(model.manifest, gates.reviewAbovePercentile);
    const value = meanGate(result.gates);
    if (threshold === undefined || value === undefined) {
      throw new ModerationError('policy_unfit', `The model ${model.name} brings no distribution of gates`);
    }
    if (value <= threshold) return [];
    const reason: Reason = { code: 'high_gates', model: model.name, value, threshold, ...(folded ? { folded } : {}) };
    return [{ decision: 'review', reason }];
  });
}

function evasionFindings(policy: Policy, { kinds }: Context['evasion']): Finding[] {
  const watched = (policy.evasion?.review ?? []).filter((kind) => (kinds[kind] ?? 0) > 0);
  return watched.length === 0 ? [] : [{ decision: 'review', reason: { code: 'evasion', kinds: watched } }];
}

function languageFindings({ languages }: Policy, language: Language | undefined): Finding[] {
  if (languages === undefined || language?.supported !== false) return [];
  return [{ decision: languages.unlisted, reason: { code: 'unlisted_language' } }];
}

function reaches(decision: Decision, other: Decision): boolean {
  return DECISIONS.indexOf(decision) >= DECISIONS.indexOf(other);
}

/** `allow` when there is none. */
function gravest(decisions: readonly Decision[]): Decision {
  return decisions.reduce((worst, one) => (reaches(one, worst) ? one : worst), 'allow' as Decision);
}

function mildest(decisions: readonly Decision[]): Decision {
  return decisions.reduce((best, one) => (reaches(one, best) ? best : one), 'block' as Decision);
}
