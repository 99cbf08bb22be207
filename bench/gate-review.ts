/**
 * Whether high gates mark the texts that a model gets wrong: what `gates.reviewAbovePercentile` of a policy buys.
 *
 *     DSLORA_DATA_DIR=DATA node bench/gate-review.ts
 *
 * Prints, for olid-minilm on OLID's development split, the share of texts above a percentile of the mean gate, and
 * among those that would be allowed otherwise the share that is offensive, beside the same share of all allowed texts.
 */
import { createEngine } from '../src/engine/engine.ts';
import { meanGateAt } from '../src/moderation/gate-context.ts';
import { meanGate, offensiveScore } from '../src/moderation/scores.ts';
import { type LabelledText, olidDevelopment } from './labelled.ts';

const MODEL = 'olid-minilm';
const CHUNK = 256;
const dataDir = process.env.DSLORA_DATA_DIR;
if (dataDir === undefined) throw new Error('DSLORA_DATA_DIR must name the folder that holds olid/');

const rows = olidDevelopment(dataDir);
const engine = await createEngine({ modelsDir: 'models', workers: 1, threads: 1 });
const scored: { offensive: boolean; score: number; gate: number }[] = [];
for (let from = 0; from < rows.length; from += CHUNK) {
  const chunk = rows.slice(from, from + CHUNK);
  const { model, results } = await engine.classify({ model: MODEL, texts: chunk.map(({ text }) => text) });
  for (const [index, { probabilities, gates }] of results.entries()) {
    const { offensive } = chunk[index] as LabelledText;
    scored.push({ offensive, score: offensiveScore(model.manifest, probabilities), gate: meanGate(gates) ?? 0 });
  }
}
const { manifest } = engine.find(MODEL) ?? { manifest: undefined };
await engine.close();
if (manifest === undefined) throw new Error(`${MODEL} is not served`);

const threshold = manifest.thresholds.balanced.value;
const allowed = scored.filter(({ score }) => score < threshold);
const missed = (texts: typeof scored) => texts.filter(({ offensive }) => offensive).length / texts.length;
console.log(`n = ${scored.length}, allowed ${allowed.length}, of which offensive ${missed(allowed).toFixed(3)}\n`);
console.log('| percentile | above it | of these allowed | of those offensive |');
console.log('|---|---|---|---|');
for (const percentile of [50, 75, 90, 95, 99]) {
  const limit = meanGateAt(manifest, percentile) ?? Number.NaN;
  const above = scored.filter(({ gate }) => gate > limit);
  const rescued = above.filter(({ score }) => score < threshold);
  console.log(
    `| ${percentile} | ${(above.length / scored.length).toFixed(3)} | ${rescued.length} | ${missed(rescued).toFixed(3)} |`,
  );
}
