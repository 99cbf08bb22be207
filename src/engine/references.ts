/** What names mean: which model a reference leads to, and which settings lead nowhere. */
import type { ServedModel } from './types.ts';

/** A share of the traffic of one model that a second one classifies too. */
export interface ShadowRule {
  /** References. */
  readonly model: string;
  readonly shadow: string;
  /** 0 to 1, of the texts. */
  readonly share: number;
}

/** The settings that name models. */
export interface References {
  readonly defaultModel: string | undefined;
  /** Alias -> name or `name@version`. */
  readonly aliases: ReadonlyMap<string, string>;
  readonly shadows: readonly ShadowRule[];
}

/** Settings name what is not served, or what cannot be. */
export class ReferencesError extends Error {
  override readonly name = 'ReferencesError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('; '));
    this.problems = problems;
  }
}

type Served = Pick<ServedModel, 'name' | 'version'>;

/** By name, and of one name the newest first. */
export function inOrder<M extends { readonly served: ServedModel }>(models: readonly M[]): readonly M[] {
  return [...models].sort(
    ({ served: a }, { served: b }) =>
      order(a.name, b.name) || order(b.manifest.createdAt, a.manifest.createdAt) || order(a.version, b.version),
  );
}

/**
 * @param models in order
 * @param reference alias, `name@version` or name; the default if undefined
 */
export function resolve<M extends { readonly served: Served }>(
  models: readonly M[],
  { aliases, defaultModel }: References,
  reference: string | undefined = defaultModel,
): M | undefined {
  if (reference === undefined) return models[0];
  const target = aliases.get(reference) ?? reference;
  return (
    models.find(({ served }) => `${served.name}@${served.version}` === target) ??
    models.find(({ served }) => served.name === target)
  );
}

/** @returns one line for each setting that these models leave without sense */
export function referenceProblems(
  models: readonly { readonly served: Served }[],
  references: References,
): readonly string[] {
  const means = (reference: string) => resolve(models, references, reference);
  const problems: string[] = [];
  const { defaultModel, aliases, shadows } = references;
  if (defaultModel !== undefined && means(defaultModel) === undefined)
    problems.push(`DEFAULT_MODEL (${defaultModel}) is not served`);
  for (const [alias, target] of aliases)
    if (means(alias) === undefined) problems.push(`ALIASES: ${alias} means ${target}, which is not served`);
  for (const { model, shadow } of shadows) {
    for (const reference of [model, shadow])
      if (means(reference) === undefined) problems.push(`SHADOW: ${reference} is not served`);
    if (means(model) !== undefined && means(model) === means(shadow))
      problems.push(`SHADOW: ${model} and ${shadow} mean the same version: name both versions, or pin one in ALIASES`);
  }
  return problems;
}

const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
