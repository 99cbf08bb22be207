/** The policies of a folder, checked against the models that are served, and replaced all at once or not at all. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { BundleError } from '../bundle/problem.ts';
import { createReader } from '../bundle/schema-check.ts';
import { DEFAULT_POLICY, type Policy, PolicySchema } from './policy.ts';
import { policyProblems, type ServedModels } from './policy-rules.ts';

/** Why policies were not taken: every problem of every file. Nothing in it is a text of a user. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('; '));
    this.problems = problems;
  }
}

export interface Policies {
  /** By name. The built-in `default` is among them unless a file replaces it. */
  list(): readonly Policy[];
  /**
   * Reads the folder again. Takes all of it or, when a file is wrong, nothing: the present policies stay.
   *
   * @throws PolicyError
   */
  reload(): Promise<void>;
}

/** What holds without a folder. */
export const BUILT_IN_POLICIES: Policies = { list: () => [DEFAULT_POLICY], reload: async () => {} };

export interface PoliciesOptions {
  /** Every `*.json` in it is one policy. Without a folder there is only the built-in one. */
  readonly folder: string | undefined;
  readonly engine: ServedModels;
}

/** @throws PolicyError when a file is wrong or the folder cannot be read */
export async function createPolicies({ folder, engine }: PoliciesOptions): Promise<Policies> {
  if (folder === undefined) return BUILT_IN_POLICIES;
  let policies = await loadFolder(folder, engine);
  return {
    list: () => policies,
    async reload() {
      policies = await loadFolder(folder, engine);
    },
  };
}

const readPolicy = createReader(PolicySchema);

async function loadFolder(folder: string, served: ServedModels): Promise<readonly Policy[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw new PolicyError([`the folder cannot be read (${error.code}): set POLICIES_DIR to a folder of policies`]);
  });
  const files = names.filter((name) => name.endsWith('.json')).sort();
  const outcomes = await Promise.allSettled(files.map((file) => loadFile(folder, file)));
  const problems: string[] = [];
  const byName = new Map<string, { readonly file: string; readonly policy: Policy }>();
  for (const [index, outcome] of outcomes.entries()) {
    const file = files[index] as string;
    if (outcome.status === 'rejected') {
      problems.push(...problemsOf(outcome.reason, file));
      continue;
    }
    const policy = outcome.value;
    const other = byName.get(policy.name);
    if (other !== undefined) problems.push(`${file}: ${other.file} has the name ${policy.name} too`);
    byName.set(policy.name, { file, policy });
    problems.push(...policyProblems(policy, served).map((problem) => `${file}: ${problem}`));
  }
  if (problems.length > 0) throw new PolicyError(problems);
  const own = [...byName.values()].map(({ policy }) => policy);
  const all = byName.has(DEFAULT_POLICY.name) ? own : [DEFAULT_POLICY, ...own];
  return all.sort((one, other) => (one.name < other.name ? -1 : 1));
}

async function loadFile(folder: string, file: string): Promise<Policy> {
  return readPolicy(file, await readFile(join(folder, file)));
}

function problemsOf(error: unknown, file: string): readonly string[] {
  if (error instanceof BundleError) return error.problems;
  return [`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`];
}
