/** What the schema of a policy cannot say: rules between its fields, and between it and the models that are served. */
import type { Engine, ServedModel } from '../engine/types.ts';
import { thresholdValue } from './decide.ts';
import { meanGateAt } from './gate-context.ts';
import { DEFAULT_POLICY, type Policy, type PolicyThresholds } from './policy.ts';

export type ServedModels = Pick<Engine, 'find' | 'models'>;

type Rule = (policy: Policy, served: ServedModels) => readonly string[];

const RULES: readonly Rule[] = [
  function something({ models, thresholds }) {
    const lacking =
      models === undefined ? thresholds === undefined : models.some((own) => own.thresholds === undefined);
    return lacking && thresholds === undefined
      ? ['has a model without thresholds: give `thresholds` to it or to all']
      : [];
  },

  function unused({ models, thresholds }) {
    const used = models === undefined || models.some((own) => own.thresholds === undefined);
    return thresholds !== undefined && !used ? ['has `thresholds` that no model uses: each has its own'] : [];
  },

  function combination({ combine, models = [], thresholds }) {
    if (combine === undefined) return [];
    const problems = models.length < 2 ? ['has `combine`, which needs several models'] : [];
    if (combine !== 'max') return problems;
    if (models.some((own) => own.thresholds !== undefined))
      problems.push('combines by `max`, so thresholds stand in `thresholds` and not with a model');
    if (Object.values(thresholds?.offensive ?? {}).some((limit) => typeof limit === 'string'))
      problems.push('combines by `max`, so thresholds are numbers: a name stands for another number with each model');
    return problems;
  },

  function once({ models = [] }) {
    const names = models.map(({ model }) => model);
    return names.filter((name, index) => names.indexOf(name) < index).map((name) => `names the model ${name} twice`);
  },

  function order({ models = [], thresholds }) {
    return [thresholds, ...models.map((own) => own.thresholds)].flatMap((own) => bandProblems(own));
  },

  function served({ models = [] }, { find }) {
    return models.flatMap(({ model }) =>
      find(model) === undefined ? [`names the model ${model}, which is not served`] : [],
    );
  },

  function anyModel({ name, models }) {
    const named = name === DEFAULT_POLICY.name && models !== undefined;
    return named ? ['decides where a request names no policy, so it must not name models: leave `models` out'] : [];
  },

  function fits(policy, served) {
    const { combine, gates } = policy;
    const found = decidingModels(policy, served);
    // The highest score of a label needs one model that has it; on its own, each needs every one.
    const labels = new Set(found.flatMap(({ served }) => served.manifest.labels));
    return found.flatMap(({ served, own }) => [
      ...Object.keys(own?.labels ?? {})
        .filter((label) => !(combine === 'max' ? labels.has(label) : served.manifest.labels.includes(label)))
        .map((label) => `has a threshold for ${label}, which ${served.name} does not know`),
      ...(combine === 'max' ? [] : bandProblems(own, served)),
      ...(gates !== undefined && meanGateAt(served.manifest, gates.reviewAbovePercentile) === undefined
        ? [`looks at gates, and ${served.name} brings no distribution of their mean`]
        : []),
    ]);
  },
];

/** Those that the policy names; every served one for the policy that decides where none is named. */
function decidingModels(
  { name, models, thresholds }: Policy,
  { find, models: all }: ServedModels,
): { readonly served: ServedModel; readonly own: PolicyThresholds | undefined }[] {
  if (models === undefined)
    return name === DEFAULT_POLICY.name ? all().map((served) => ({ served, own: thresholds })) : [];
  return models.flatMap(({ model, thresholds: own = thresholds }) => {
    const served = find(model);
    return served === undefined ? [] : [{ served, own }];
  });
}

/** @param served with it, names of thresholds are looked up too; without it only numbers are compared */
function bandProblems({ offensive, labels = {} }: PolicyThresholds = {}, served?: ServedModel): string[] {
  // A label may be called offensive too.
  const bands = [...Object.entries(labels), ...(offensive === undefined ? [] : [['offensive', offensive] as const])];
  return bands.flatMap(([name, { review, block }]) => {
    const named = typeof review === 'string' || typeof block === 'string';
    if (named !== (served !== undefined)) return [];
    const [from, to] = [review, block].map((limit) =>
      typeof limit === 'string' && served !== undefined ? thresholdValue(limit, served) : limit,
    );
    if (from === undefined || to === undefined || from <= to) return [];
    const where = served === undefined ? '' : ` with ${served.name}`;
    return [`reviews ${name} from ${from} and blocks from ${to}${where}: review must not be above block`];
  });
}

/** Every rule that the policy breaks, as phrases that follow its name. */
export function policyProblems(policy: Policy, served: ServedModels): string[] {
  return [...new Set(RULES.flatMap((rule) => rule(policy, served)))];
}
