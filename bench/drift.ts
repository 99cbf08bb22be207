/**
 * How far real texts are from those that the shipped models were developed on, as the service would say it.
 *
 *     DSLORA_DATA_DIR=DATA node bench/drift.ts [--texts 2000] [--model olid-minilm] [--json]
 *
 * Each set goes through the engine and then through the service's own drift window (src/observability/drift), with bins
 * from the bundle. Prints a table in Markdown, or with `--json` what it is made of. The development splits are the
 * control: what they show is sampling of percentiles and int8, not drift. `noise` is what 99 of 100 samples of the
 * development distribution itself stay under, by the chi-squared distribution.
 */
import { parseArgs } from 'node:util';

import { createEngine } from '../src/engine/engine.ts';
import { EngineError, type ServedModel } from '../src/engine/types.ts';
import { createDrift } from '../src/observability/drift/drift.ts';
import { germEvalTexts, hateXplainTexts, jigsawTexts, olidDevelopment } from './labelled.ts';
import { olidTestTexts } from './olid.ts';

const { values: options } = parseArgs({
  options: {
    texts: { type: 'string', default: '2000' },
    model: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const dataDir = process.env.DSLORA_DATA_DIR;
if (dataDir === undefined)
  throw new Error('DSLORA_DATA_DIR must name the folder with olid, hatexplain, jigsaw and germeval2018');
const most = Number(options.texts);
if (!Number.isInteger(most) || most < 1) throw new Error('--texts must be a whole number above 0');

const CHUNK = 256;
/** Bins of most columns, less one. */
const FREEDOM = 9;
/** The 99th percentile of chi-squared with 9 degrees of freedom. */
const CHI_SQUARED_99 = 21.67;

const SETS: readonly { readonly model: string; readonly set: string; readonly texts: readonly string[] }[] = [
  { model: 'olid-minilm', set: 'OLID development (control)', texts: olidDevelopment(dataDir).map(({ text }) => text) },
  { model: 'olid-minilm', set: 'OLID test', texts: olidTestTexts(dataDir) },
  { model: 'olid-minilm', set: 'HateXplain validation', texts: hateXplainTexts(dataDir) },
  { model: 'olid-minilm', set: 'Jigsaw, Wikipedia talk pages', texts: jigsawTexts(dataDir) },
  { model: 'olid-minilm', set: 'GermEval 2018, German tweets', texts: germEvalTexts(dataDir) },
  { model: 'hatexplain-minilm', set: 'HateXplain validation (control)', texts: hateXplainTexts(dataDir) },
  { model: 'hatexplain-minilm', set: 'HateXplain test', texts: hateXplainTexts(dataDir, 'test') },
  { model: 'hatexplain-minilm', set: 'OLID test', texts: olidTestTexts(dataDir) },
  { model: 'hatexplain-minilm', set: 'Jigsaw, Wikipedia talk pages', texts: jigsawTexts(dataDir) },
  { model: 'hatexplain-minilm', set: 'GermEval 2018, German tweets', texts: germEvalTexts(dataDir) },
];

const engine = await createEngine({ modelsDir: 'models', workers: 1, threads: 1 });

async function measure(model: ServedModel, texts: readonly string[]) {
  const drift = createDrift({ driftWindowTexts: texts.length, driftWindowMinutes: 60, driftMinTexts: 1 });
  let [answered, microseconds] = [0, 0];
  for (let from = 0; from < texts.length; from += CHUNK) {
    const asked = {
      model: model.name,
      texts: texts.slice(from, from + CHUNK),
      priority: 'bulk',
      timeoutMs: 600_000,
    } as const;
    const { results } = await engine.classifyEach(asked);
    const sound = results.flatMap((result) => (result instanceof EngineError ? [] : [result]));
    const begun = performance.now();
    for (const result of sound) drift.observe(model, result);
    microseconds += (performance.now() - begun) * 1000;
    answered += sound.length;
  }
  const { indexes } = drift.report(model);
  if (indexes === undefined) throw new Error('None of the texts was answered');
  const { probabilities, gates, tokens } = indexes;
  const noise = CHI_SQUARED_99 * (1 / answered + 1 / model.manifest.distribution.n);
  return { n: answered, probabilities, gates, tokens, noise, microsecondsPerText: microseconds / answered };
}

const rows = [];
for (const { model: name, set, texts } of SETS) {
  if (options.model !== undefined && options.model !== name) continue;
  const model = engine.find(name);
  if (model === undefined) throw new Error(`models/ holds no ${name}`);
  rows.push({ model: name, set, ...(await measure(model, evenly(texts, most))) });
}
await engine.close();

const psi = (value: number | undefined) => value?.toFixed(3) ?? '–';
const range = (values: readonly { readonly psi: number }[]) => {
  const sorted = values.map((one) => one.psi).sort((one, other) => one - other);
  return sorted.length === 0 ? '–' : `${psi(sorted[0])} … ${psi(sorted.at(-1))}`;
};
const mean = (values: readonly { readonly psi: number }[]) =>
  psi(values.reduce((sum, one) => sum + one.psi, 0) / values.length);
if (options.json) console.log(JSON.stringify({ freedom: FREEDOM, rows }, null, 2));
else {
  console.log('| model | texts | n | probabilities | layers of gates | mean over layers | length | noise |');
  console.log('|---|---|---|---|---|---|---|---|');
  for (const { model, set, n, probabilities, gates, tokens, noise } of rows)
    console.log(
      `| ${model} | ${set} | ${n} | ${range(probabilities)} | ${range(gates)} | ${mean(gates)} | ${psi(tokens)} | ${psi(noise)} |`,
    );
  const costs = rows.map(({ microsecondsPerText }) => microsecondsPerText);
  console.log(`\nCounting a text took ${Math.min(...costs).toFixed(1)} to ${Math.max(...costs).toFixed(1)} µs.`);
}

/** Spread over all of them, so that the order of a file is no choice. */
function evenly(texts: readonly string[], count: number): string[] {
  const step = Math.max(1, texts.length / count);
  return Array.from({ length: Math.min(count, texts.length) }, (_, k) => texts[Math.floor(k * step)] as string);
}
