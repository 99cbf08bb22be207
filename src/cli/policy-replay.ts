#!/usr/bin/env node
/**
 * Replays labelled texts through a policy, so that a team can see what it does before it decides (docs/policies.md).
 *
 *     npm run policy-replay -- FILE --positive OFF [options]
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { ConfigError, loadConfig } from '../config.ts';
import { createEngine } from '../engine/engine.ts';
import { type Engine, EngineError } from '../engine/types.ts';
import { createModerator } from '../moderation/moderator.ts';
import { createPolicies, PolicyError } from '../moderation/policies.ts';
import type { Policy } from '../moderation/policy.ts';
import { ModerationError } from '../moderation/types.ts';
import { sizeConfig } from '../sized-config.ts';
import { ReplayError } from './replay/failure.ts';
import { type LabelledText, readIds, readLabelled } from './replay/labelled-file.ts';
import { bandOf, cheapestBand, measure, type ReadText, scoresOf, sweepBlock } from './replay/measure.ts';
import { drawSweep } from './replay/plot.ts';
import { type Replay, report } from './replay/report.ts';

const HELP = `npm run policy-replay -- FILE --positive LABEL[,LABEL] [options]

FILE is .csv, .tsv or .jsonl, with a header line or field names.

  --positive LABELS       labels that mean offensive, separated by commas
  --text-column NAME      column of the texts (text)
  --label-column NAME     column of the labels (label)
  --ids FILE              JSON list of the rows to take (default: all), or an object with "ids"
  --id-column NAME        column of the ids (id)
  --policy NAME           policy to replay (default)
  --model NAME            model, for a policy that names none
  --sweep SCORE           offensive or labels.NAME: whose thresholds are varied (the policy's first)
  --cost-fp NUMBER        of a harmless text that is blocked (1)
  --cost-fn NUMBER        of an offensive text that is allowed (1)
  --cost-review NUMBER    of a text that a person looks at (0.1)
  --svg FILE              write the plot
  --json FILE             write all figures

MODELS_DIR, POLICIES_DIR and the engine's settings are read from the environment, as the service reads them.
`;

const OPTIONS = {
  positive: { type: 'string' },
  'text-column': { type: 'string', default: 'text' },
  'label-column': { type: 'string', default: 'label' },
  ids: { type: 'string' },
  'id-column': { type: 'string', default: 'id' },
  policy: { type: 'string', default: 'default' },
  model: { type: 'string' },
  sweep: { type: 'string' },
  'cost-fp': { type: 'string', default: '1' },
  'cost-fn': { type: 'string', default: '1' },
  'cost-review': { type: 'string', default: '0.1' },
  svg: { type: 'string' },
  json: { type: 'string' },
  help: { type: 'boolean', default: false },
} as const;

/** An hour: what takes longer hangs. */
const LONGEST_ANSWER_MS = 3_600_000;

/** Texts in one call of the engine: its queue holds more. */
const CHUNK = 256;

try {
  await main();
} catch (error) {
  const ours = [ReplayError, ConfigError, PolicyError, ModerationError, EngineError].some(
    (kind) => error instanceof kind,
  );
  const usage = (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') ?? false;
  if (!ours && !usage) throw error;
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
  const [file, ...others] = positionals;
  if (values.help) return void process.stdout.write(HELP);
  if (file === undefined || others.length > 0) throw new ReplayError(`One file is expected.\n\n${HELP}`);
  if (values.positive === undefined) throw new ReplayError(`--positive is missing.\n\n${HELP}`);
  const costs = {
    falsePositive: cost('--cost-fp', values['cost-fp']),
    falseNegative: cost('--cost-fn', values['cost-fn']),
    review: cost('--cost-review', values['cost-review']),
  };
  const labelled = await readLabelled(file, {
    text: values['text-column'],
    label: values['label-column'],
    positive: values.positive.split(',').map((label) => label.trim()),
    only: values.ids === undefined ? undefined : { column: values['id-column'], ids: await readIds(values.ids) },
  });

  const { policy, texts, unanswered } = await readTexts(labelled, values.policy, values.model);
  if (texts.length === 0) throw new ReplayError('No text had an answer: nothing can be measured');
  const score = values.sweep ?? (scoresOf(policy)[0] as string);
  if (!scoresOf(policy).includes(score))
    throw new ReplayError(`--sweep ${score}: the policy has thresholds for ${scoresOf(policy).join(', ')}`);
  const band = bandOf(policy, score, texts);
  const replay: Replay = {
    policy,
    models: (texts[0] as ReadText).forms[0].map(({ model: { name, version } }) => ({ name, version })),
    score,
    costs,
    n: texts.length,
    unanswered,
    band,
    present: measure(policy, texts, costs),
    sweep: sweepBlock(policy, score, texts, costs),
    cheapest: cheapestBand(policy, score, texts, costs),
  };
  process.stdout.write(report(replay));
  const title = `${policy.name} ${policy.version}, ${score}, ${texts.length} texts`;
  if (values.svg !== undefined) await writeFile(values.svg, drawSweep(title, replay.sweep, band.block));
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(replay, null, 2)}\n`);
}

function cost(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new ReplayError(`${name} must be a number from 0 on, got ${JSON.stringify(text)}`);
  return value;
}

interface Read {
  readonly policy: Policy;
  readonly texts: readonly ReadText[];
  readonly unanswered: number;
}

async function readTexts(labelled: readonly LabelledText[], name: string, model: string | undefined): Promise<Read> {
  const { config } = await sizeConfig(loadConfig(process.env), process.env);
  // Nobody waits for an answer here, and nothing is to be compared with another model.
  const engine = await createEngine({ ...config, answerTimeoutMs: LONGEST_ANSWER_MS, shadows: [] }).catch(() => {
    throw new ReplayError(`MODELS_DIR (${config.modelsDir}) cannot be read: point it to a folder that holds bundles.`);
  });
  try {
    const policies = await createPolicies({ folder: config.policiesDir, engine });
    const { detectLanguage } = await import('../moderation/language.ts');
    const moderator = createModerator({ engine, policies, detectLanguage });
    return await moderateAll(labelled, (texts) => moderator.moderate({ texts, policy: name, model, priority: 'bulk' }));
  } finally {
    await (engine as Engine).close();
  }
}

async function moderateAll(
  labelled: readonly LabelledText[],
  moderate: (texts: readonly string[]) => ReturnType<ReturnType<typeof createModerator>['moderate']>,
): Promise<Read> {
  const texts: ReadText[] = [];
  let found: Policy | undefined;
  for (let from = 0; from < labelled.length; from += CHUNK) {
    const chunk = labelled.slice(from, from + CHUNK);
    const { policy, results } = await moderate(chunk.map(({ text }) => text));
    found = policy;
    for (const [index, result] of results.entries()) {
      if (result instanceof EngineError) continue;
      const { forms, evasion, language } = result;
      texts.push({ offensive: (chunk[index] as LabelledText).offensive, forms, evasion, language });
    }
  }
  return { policy: found as Policy, texts, unanswered: labelled.length - texts.length };
}
