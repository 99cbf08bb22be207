/**
 * What disguises cost a model, and what undoing them gives back.
 *
 *     DSLORA_DATA_DIR=DATA node bench/evasion.ts [--split development|test] [--share 0.5] [--attacks zero-width,bidi]
 *
 * Every text of OLID's development split is attacked (bench/evasion-attacks.ts) and scored twice: as it is, and with
 * the folding of a policy. Prints a table in Markdown: macro-F1 at the model's balanced threshold, recall on offensive
 * texts and the share of harmless texts that is flagged, with 95 % intervals of a bootstrap over texts (1,000 resamples).
 * Everything was decided on the development split; the test split is for the report.
 */
import { parseArgs } from 'node:util';

import { createEngine } from '../src/engine/engine.ts';
import { EngineError } from '../src/engine/types.ts';
import { createModerator } from '../src/moderation/moderator.ts';
import { DEFAULT_POLICY, type Policy } from '../src/moderation/policy.ts';
import { offensiveScore } from '../src/moderation/scores.ts';
import { ATTACKS, attack } from './evasion-attacks.ts';
import { type LabelledText, olidDevelopment, olidTest } from './labelled.ts';
import { createRandom } from './random.ts';

const MODEL = 'olid-minilm';
const CHUNK = 256;
const RESAMPLES = 1_000;
const FOLDING: Policy = { ...DEFAULT_POLICY, evasion: { fold: true } };

const { values: options } = parseArgs({
  options: {
    split: { type: 'string', default: 'development' },
    share: { type: 'string', default: '0.5' },
    attacks: { type: 'string' },
  },
});
const dataDir = process.env.DSLORA_DATA_DIR;
if (dataDir === undefined) throw new Error('DSLORA_DATA_DIR must name the folder that holds olid/');
const rows = options.split === 'test' ? olidTest(dataDir) : olidDevelopment(dataDir);
const share = Number(options.share);
const names = options.attacks?.split(',');

interface Scored {
  readonly offensive: boolean;
  readonly asSent: number;
  readonly withFolding: number;
  readonly found: readonly string[];
}

const engine = await createEngine({ modelsDir: 'models', defaultModel: MODEL, workers: 1, threads: 1 });
const moderator = createModerator({ engine, policies: { list: () => [FOLDING] } });
const threshold = engine.find(MODEL)?.manifest.thresholds.balanced.value ?? Number.NaN;

async function scoreAll(texts: readonly LabelledText[]): Promise<Scored[]> {
  const scored: Scored[] = [];
  for (let from = 0; from < texts.length; from += CHUNK) {
    const chunk = texts.slice(from, from + CHUNK);
    const { model, results } = await moderator.moderate({ texts: chunk.map(({ text }) => text), priority: 'bulk' });
    for (const [index, result] of results.entries()) {
      if (result instanceof EngineError) throw result;
      const withFolding = offensiveScore(model.manifest, result.probabilities);
      scored.push({
        offensive: (chunk[index] as LabelledText).offensive,
        asSent: result.evasion.offensiveAsSent ?? withFolding,
        withFolding,
        found: Object.keys(result.evasion.kinds),
      });
    }
  }
  return scored;
}

interface Counts {
  readonly macroF1: number;
  readonly recall: number;
  readonly falsePositives: number;
}

function measure(scored: readonly Scored[], score: (one: Scored) => number): Counts {
  let [tp, fp, fn, tn] = [0, 0, 0, 0];
  for (const one of scored) {
    const flagged = score(one) >= threshold;
    if (flagged) one.offensive ? tp++ : fp++;
    else one.offensive ? fn++ : tn++;
  }
  return {
    macroF1: (tp / (tp + (fp + fn) / 2) + tn / (tn + (fp + fn) / 2)) / 2,
    recall: tp / (tp + fn),
    falsePositives: fp / (fp + tn),
  };
}

/** Point value and percentile interval of a statistic of the texts. */
function interval(
  scored: readonly Scored[],
  statistic: (sample: readonly Scored[]) => number,
): [number, number, number] {
  const random = createRandom(7);
  const values = Array.from({ length: RESAMPLES }, () =>
    statistic(scored.map(() => scored[Math.floor(random() * scored.length)] as Scored)),
  ).sort((one, other) => one - other);
  const at = (q: number) => values[Math.round(q * (RESAMPLES - 1))] as number;
  return [statistic(scored), at(0.025), at(0.975)];
}

const shown = ([value, low, high]: [number, number, number], digits = 3) =>
  `${value.toFixed(digits)} [${low.toFixed(digits)}, ${high.toFixed(digits)}]`;

function row(name: string, scored: readonly Scored[]): string {
  const sent = (key: keyof Counts) => (sample: readonly Scored[]) => measure(sample, (one) => one.asSent)[key];
  const folded = (key: keyof Counts) => (sample: readonly Scored[]) => measure(sample, (one) => one.withFolding)[key];
  const found = scored.filter((one) => one.found.length > 0).length / scored.length;
  return [
    name,
    shown(interval(scored, sent('macroF1'))),
    shown(interval(scored, folded('macroF1'))),
    shown(interval(scored, (sample) => folded('macroF1')(sample) - sent('macroF1')(sample))),
    `${sent('recall')(scored).toFixed(3)} → ${folded('recall')(scored).toFixed(3)}`,
    `${sent('falsePositives')(scored).toFixed(4)} → ${folded('falsePositives')(scored).toFixed(4)}`,
    found.toFixed(3),
  ].join(' | ');
}

console.log(
  `OLID ${options.split}, n = ${rows.length}, ${MODEL}, threshold ${threshold.toFixed(3)}, ${share} of words\n`,
);
console.log('| attack | macro-F1 as sent | with folding | difference | recall | harmless flagged | detected |');
console.log('|---|---|---|---|---|---|---|');
if (names === undefined || names.includes('none')) console.log(`| ${row('none', await scoreAll(rows))} |`);
for (const one of ATTACKS) {
  if (names !== undefined && !names.includes(one.name)) continue;
  const random = createRandom(1);
  const attacked = rows.map(({ text, offensive }) => ({ text: attack(text, one, share, random), offensive }));
  console.log(`| ${row(one.name, await scoreAll(attacked))} |`);
}
await engine.close();
