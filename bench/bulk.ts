/**
 * `dslora-classify` beside the bare loop, and its memory over a long file.
 *
 *     node bench/bulk.ts throughput [--models DIR] [--model NAME] [--rows N] [--rounds N]
 *     node bench/bulk.ts memory     [--models DIR] [--model NAME] [--rows N] [--format csv|jsonl] [--words N]
 *
 * Throughput: rows a second as the command says them, which counts from its first row to its last byte and leaves out the
 * loading of models; in turns with the best bare loop on the windows of the same texts. Memory: the proportional set size
 * of every process, by tenths of the file. Prints JSON. Texts are synthetic, with the lengths of OLID's, no two the same.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { usableCpus } from '../src/engine/cpus.ts';
import { describeSetting, startBare } from './bare.ts';
import { cpuByRole, useOfTree } from './processes.ts';
import { createRandom } from './random.ts';
import { spread } from './statistics.ts';
import { shuffledWords, syntheticTexts } from './texts.ts';
import { ratios, takeTurns } from './turns.ts';
import { loadWorkload } from './workload.ts';

const COMMAND = fileURLToPath(new URL('../src/cli/classify.ts', import.meta.url));
const TEXTS = 512;
const TRY_SECONDS = 1;
const BARE_SECONDS = 10;
const SAMPLE_MS = 500;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    models: { type: 'string', default: 'models' },
    model: { type: 'string' },
    rows: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    format: { type: 'string', default: 'csv' },
    words: { type: 'string', default: '100' },
  },
});

const FORMATS: Readonly<Record<string, { readonly head: string; row(id: number, text: string): string }>> = {
  csv: { head: 'id,text\n', row: (id, text) => `${id},"${text}"\n` },
  jsonl: { head: '', row: (id, text) => `${JSON.stringify({ id, text })}\n` },
};
const MEASUREMENTS: Readonly<Record<string, () => Promise<unknown>>> = { throughput, memory };

const [name = 'throughput'] = positionals;
const measure = MEASUREMENTS[name];
if (measure === undefined) throw new Error(`There are: ${Object.keys(MEASUREMENTS).join(', ')}`);
const folder = await mkdtemp(join(tmpdir(), 'bench-bulk-'));
try {
  console.log(JSON.stringify(await measure(), null, 2));
} finally {
  await rm(folder, { recursive: true });
}

async function throughput() {
  const { models: modelsDir, model } = options;
  const workload = await loadWorkload({ modelsDir, model, dataDir: undefined, texts: TEXTS });
  const rows = Number(options.rows ?? 16_384);
  const random = createRandom(1);
  // No two the same: the engine computes equal texts that wait at the same time once.
  const input = await writeTable(rows, (i) => shuffledWords(workload.texts[i % TEXTS]?.text ?? '', random));
  const bare = startBare(workload, usableCpus());
  const { best } = await bare.best(TRY_SECONDS);
  const shares: number[] = [];
  const rates = await takeTurns(Number(options.rounds), {
    bare: async () => (await bare.throughput(best, BARE_SECONDS)) / workload.meanTokens,
    async command() {
      const uses: Readonly<Record<string, number>>[] = [];
      const { rowsPerSecond } = await classify(input, async ({ pid }, output) => {
        // Not before the first checkpoint: loading is another matter.
        if ((await rowsDone(output)) > 0) uses.push(cpuByRole(useOfTree(pid as number)));
      });
      shares.push(inferenceShare(uses));
      return rowsPerSecond;
    },
  });
  bare.stop();
  return {
    model: workload.manifest.name,
    rows,
    meanTokens: Math.round(workload.meanTokens * 10) / 10,
    bareLoop: describeSetting(best),
    bareTextsPerSecond: spread(rates.bare),
    commandRowsPerSecond: spread(rates.command),
    ratio: spread(ratios(rates.command, rates.bare)),
    inferenceShare: spread(shares),
  };
}

/**
 * Of the processor time that was used between the first and the last sample, the part that inference had. Where all cores
 * are busy, throughput cannot be a larger part of the bare loop's, and other work on the machine changes it little.
 */
function inferenceShare(uses: readonly Readonly<Record<string, number>>[]): number {
  const [first, last] = [uses[0] ?? {}, uses.at(-1) ?? {}];
  const used = (role: string) => (last[role] ?? 0) - (first[role] ?? 0);
  return used('inference') / Object.keys(last).reduce((sum, role) => sum + used(role), 0);
}

async function memory() {
  const rows = Number(options.rows ?? 1_000_000);
  const random = createRandom(1);
  const some = syntheticTexts(TEXTS).map((text) => text.split(' ').slice(0, Number(options.words)).join(' '));
  const input = await writeTable(rows, (i) => shuffledWords(some[i % TEXTS] as string, random));
  const samples: { readonly rows: number; readonly pssMiB: Readonly<Record<string, number>> }[] = [];
  let tenth = 0;
  const { rowsPerSecond } = await classify(input, async (child, output) => {
    const done = await rowsDone(output);
    if (done < (tenth * rows) / 10) return;
    tenth = Math.floor((10 * done) / rows) + 1;
    const pssMiB: Record<string, number> = {};
    for (const { role, pssMiB: own } of useOfTree(child.pid as number)) {
      pssMiB[role] = Math.round((pssMiB[role] ?? 0) + own);
    }
    samples.push({ rows: done, pssMiB });
  });
  return { rows, format: options.format, rowsPerSecond, samples };
}

/** Of the last checkpoint. */
async function rowsDone(output: string): Promise<number> {
  const lines = (await readFile(`${output}.journal`, 'utf8').catch(() => '')).trimEnd().split('\n');
  return Number(/^\{"rows":(\d+)/.exec(lines.at(-1) ?? '')?.[1] ?? 0);
}

async function writeTable(rows: number, textOf: (row: number) => string): Promise<string> {
  const { format } = options;
  const { head, row } = FORMATS[format] ?? FORMATS.csv ?? { head: '', row: () => '' };
  const path = join(folder, `in.${format}`);
  const lines = function* () {
    yield head;
    for (let i = 0; i < rows; i++) yield row(i, textOf(i));
  };
  await pipeline(Readable.from(lines()), createWriteStream(path));
  return path;
}

async function classify(input: string, sample?: (child: ChildProcess, output: string) => Promise<void>) {
  const output = join(folder, `out.${options.format}`);
  const model = options.model === undefined ? [] : ['--model', options.model];
  const args = [COMMAND, input, '-o', output, '--overwrite', '-q', '--models-dir', options.models, ...model];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const timer = setInterval(() => sample?.(child, output).catch(() => {}), SAMPLE_MS);
  const [code] = await once(child, 'close');
  clearInterval(timer);
  const rate = /, ([\d,]+) rows\/s\.\n$/.exec(said)?.[1];
  if (code !== 0 || rate === undefined) throw new Error(`dslora-classify ended with ${code}: ${said}`);
  return { rowsPerSecond: Number(rate.replaceAll(',', '')) };
}
