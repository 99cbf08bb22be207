/**
 * The service beside a bare onnxruntime-node loop on the same graph, texts and machine, in turns.
 *
 *     npm run bench -- [--models DIR] [--model NAME] [--texts FILE] [--rounds N] [--seconds N] [--connections N]
 *
 * Latency: one text at a time on an idle service. Throughput: requests of 32 texts over some connections, against the
 * best bare loop that was found (processes x threads x batch size), fed with windows sorted by length. The client runs
 * on the same machine and takes its share of it. Prints a table, then the same as JSON.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { discoverBundles } from '../src/bundle/discover.ts';
import type { Bundle } from '../src/bundle/load.ts';
import { usableCpus } from '../src/engine/cpus.ts';
import { normalize } from '../src/engine/normalize.ts';
import { loadTokenizer } from '../src/engine/tokenizer.ts';
import { cutWindows } from '../src/engine/windows.ts';
import type { BareRequest } from './bare-loop.ts';
import { memoryOfTree } from './memory.ts';
import { type Service, startService } from './service.ts';
import { syntheticTexts } from './texts.ts';

const TEXTS_OF_A_REQUEST = 32;
const TEXTS = 512;
/** Bare batch sizes that are tried; the best is compared with. */
const BATCH_SIZES = [1, 2, 4, 8, 16, 32];
const BARE = fileURLToPath(new URL('./bare-loop.ts', import.meta.url));

const { values: options } = parseArgs({
  options: {
    models: { type: 'string', default: 'models' },
    model: { type: 'string' },
    texts: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '4' },
  },
});

const cpus = usableCpus();
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const connections = Number(options.connections);
const bundle = await chooseBundle();
const texts = options.texts === undefined ? syntheticTexts(TEXTS) : readTexts(options.texts);
const { windows, meanTokens } = await tokenize(bundle, texts);
const graph = join(bundle.folder, bundle.manifest.graphs[0]?.file ?? '');

const service = await startService(options.models);
const bare = Array.from({ length: cpus }, () => fork(BARE, [], { serialization: 'advanced', execArgv: [] }));
const best = await bestBareLoop();
const { rows, details } = await measure(service);
const memory = memoryOfTree(service.pid);
await service.stop();
for (const process of bare) process.disconnect();

console.table(rows);
console.table(memory);
const pssMiB = memory.reduce((sum, { pss }) => sum + pss, 0);
const setting = {
  model: `${bundle.manifest.name} ${bundle.manifest.version}`,
  graph: bundle.manifest.graphs[0]?.precision,
  texts: texts.length,
  meanTokens,
  cpus,
  connections,
  rounds,
  bareLoop: best,
  startMs: Math.round(service.startMs),
  pssMiB,
};
console.log(JSON.stringify({ ...setting, ...details, memory }, null, 2));

async function chooseBundle(): Promise<Bundle> {
  const { bundles, refused } = await discoverBundles(options.models);
  const chosen =
    options.model === undefined ? bundles[0] : bundles.find(({ manifest }) => manifest.name === options.model);
  if (chosen !== undefined) return chosen;
  const why = refused.map(({ folder, reason }) => `${folder}: ${reason}`).join('\n');
  throw new Error(`No such bundle in ${options.models}: name a folder with --models and a model with --model.\n${why}`);
}

/** One text a line. */
function readTexts(file: string): string[] {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '');
  if (lines.length === 0) throw new Error(`${file} holds no text: it should have one on each line`);
  return lines.slice(0, TEXTS);
}

async function tokenize({ folder, manifest }: Bundle, all: readonly string[]) {
  const encode = await loadTokenizer(join(folder, 'tokenizer.json'), join(folder, 'tokenizer_config.json'));
  const cut = all.flatMap((text) => {
    const normalized = normalize(text, manifest.input.normalization);
    return 'error' in normalized ? [] : cutWindows(Int32Array.from(encode(normalized.text)), manifest.input);
  });
  const tokens = cut.reduce((sum, window) => sum + window.length, 0);
  return { windows: cut, meanTokens: Math.round((10 * tokens) / all.length) / 10 };
}

function ask(child: ChildProcess, request: BareRequest): Promise<number[]> {
  return new Promise((resolve) => {
    child.once('message', (times: number[]) => resolve(times));
    child.send(request);
  });
}

/** Windows sorted by length, in batches, dealt to the processes. */
function shards(processes: number, size: number): Int32Array[][][] {
  const sorted = windows.toSorted((a, b) => b.length - a.length);
  const batches = Array.from({ length: Math.ceil(sorted.length / size) }, (_, i) =>
    sorted.slice(i * size, (i + 1) * size),
  );
  return Array.from({ length: processes }, (_, p) => batches.filter((_, i) => i % processes === p));
}

interface BareLoop {
  readonly processes: number;
  readonly threads: number;
  readonly batch: number;
}

/** @returns texts a second; the slowest process decides */
async function bareThroughput({ processes, threads, batch }: BareLoop): Promise<number> {
  const padId = bundle.manifest.input.padId;
  const times = await Promise.all(
    shards(processes, batch).map((batches, p) => ask(bare[p] as ChildProcess, { graph, threads, batches, padId })),
  );
  const slowest = Math.max(...times.map((own) => own.reduce((a, b) => a + b, 0)));
  return (1000 * texts.length) / slowest;
}

async function bestBareLoop(): Promise<BareLoop> {
  const shapes =
    cpus === 1
      ? [[1, 1]]
      : [
          [cpus, 1],
          [1, cpus],
        ];
  let found: BareLoop = { processes: 1, threads: 1, batch: 1 };
  let most = 0;
  for (const [processes = 1, threads = 1] of shapes)
    for (const batch of BATCH_SIZES) {
      const loop = { processes, threads, batch };
      const reached = await bareThroughput(loop);
      if (reached > most) [most, found] = [reached, loop];
    }
  return found;
}

async function bareLatency(threads: number): Promise<number[]> {
  const batches = windows.slice(0, 100).map((window) => [window]);
  return ask(bare[0] as ChildProcess, { graph, threads, batches, padId: bundle.manifest.input.padId });
}

async function serviceLatency(running: Service): Promise<number[]> {
  const times: number[] = [];
  for (const text of texts.slice(0, 100)) {
    const started = performance.now();
    await running.classify(bundle.manifest.name, [text]);
    times.push(performance.now() - started);
  }
  return times;
}

async function serviceThroughput(running: Service): Promise<number> {
  const started = performance.now();
  let answered = 0;
  let next = 0;
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (performance.now() - started < seconds * 1000) {
        const from = (next++ * TEXTS_OF_A_REQUEST) % texts.length;
        const request = [...texts.slice(from), ...texts].slice(0, TEXTS_OF_A_REQUEST);
        await running.classify(bundle.manifest.name, request);
        answered += request.length;
      }
    }),
  );
  return (1000 * answered) / (performance.now() - started);
}

/** All kinds in turn, several times, so that what else the machine does hits them alike. */
async function measure(running: Service) {
  await serviceThroughput(running);
  const latency: { bare: number[]; service: number[] }[] = [];
  const throughput: { bare: number; service: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    latency.push({ bare: await bareLatency(1), service: await serviceLatency(running) });
    throughput.push({ bare: await bareThroughput(best), service: await serviceThroughput(running) });
  }
  const at = (quantile: number, values: readonly number[]) =>
    values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * quantile))] as number;
  const round = (value: number) => Number(value.toPrecision(3));
  const row = (pairs: readonly { bare: number; service: number }[]) => ({
    bare: round(
      at(
        0.5,
        pairs.map(({ bare }) => bare),
      ),
    ),
    service: round(
      at(
        0.5,
        pairs.map(({ service }) => service),
      ),
    ),
    'service / bare': round(
      at(
        0.5,
        pairs.map(({ bare, service }) => service / bare),
      ),
    ),
  });
  const quantiles = (q: number) =>
    row(latency.map(({ bare, service }) => ({ bare: at(q, bare), service: at(q, service) })));
  const rows = {
    'one text, p50 (ms)': quantiles(0.5),
    'one text, p95 (ms)': quantiles(0.95),
    [`${TEXTS_OF_A_REQUEST}-text requests (texts/s)`]: row(throughput),
  };
  return {
    rows,
    details: {
      rows,
      throughput: throughput.map(({ bare, service }) => ({ bare: round(bare), service: round(service) })),
    },
  };
}
