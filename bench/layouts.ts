/**
 * DS-LoRA in every layout of its graph against the same base without adapters, which costs what merged LoRA costs.
 *
 *     cd training && .venv/bin/dslora layouts adapters/hatexplain-minilm --out ../runs/layouts
 *     node bench/layouts.ts runs/layouts [--rounds 15] [--seconds 0.15] [--threads 1,2] [--json FILE]
 *
 * Under onnxruntime-node. Each round runs every graph of one precision once for the given time, in an order that
 * changes from round to round; a ratio is taken within a round, and the median of the rounds' ratios is reported.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { InferenceSession, Tensor } from 'onnxruntime-node';

import { quantile } from './statistics.ts';

interface Figure {
  readonly precision: string;
  readonly threads: number;
  /** Rows x tokens. */
  readonly shape: string;
  readonly layout: string;
  /** Of one run, the best of the rounds' medians: what the graph takes when nothing else disturbs. */
  readonly milliseconds: number;
  /** Over the base, median of the rounds. 0.02 is 2 %. */
  readonly overhead: number;
  readonly interval: readonly [number, number];
}

/**
 * As the target names them (docs/performance.md): one short post on an idle service, and a batch larger than the service's
 * own, of 192 tokens unless set otherwise.
 */
const SHAPES = [
  [1, 32],
  [8, 64],
] as const;
const BASE = 'base';
/** DS-LoRA may cost so much more than merged LoRA, and must be so much better than the paper's way. */
const TARGET = { overhead: 0.02, betterThanNaive: 0.08 };

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '15' },
    seconds: { type: 'string', default: '0.15' },
    threads: { type: 'string', default: '1,2' },
    json: { type: 'string' },
  },
});
const [folder] = positionals;
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const threadCounts = options.threads.split(',').map(Number);
if (folder === undefined || !(rounds >= 1) || !(seconds > 0) || threadCounts.some((n) => !(n >= 1))) {
  console.error('Expected: node bench/layouts.ts FOLDER [--rounds N] [--seconds S] [--threads 1,2] [--json FILE]');
  process.exit(2);
}

const figures: Figure[] = [];
for (const [precision, layouts] of graphsByPrecision(folder)) {
  for (const threads of threadCounts) {
    const sessions = await openAll(folder, precision, layouts, threads);
    for (const [rows, tokens] of SHAPES) {
      const measured = await compare(sessions, rows, tokens);
      const base = measured.get(BASE) ?? [];
      for (const [layout, times] of measured) {
        figures.push({ precision, threads, shape: `${rows}x${tokens}`, layout, ...against(base, times) });
      }
    }
    for (const session of sessions.values()) await session.release();
  }
}
console.log(asTable(figures));
if (options.json !== undefined) {
  const [cpu] = cpus();
  const conditions = { node: process.version, cpu: cpu?.model, cpus: cpus().length, rounds, seconds };
  writeFileSync(options.json, `${JSON.stringify({ conditions, target: TARGET, figures }, null, 2)}\n`);
}

function graphsByPrecision(from: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const name of readdirSync(from).sort()) {
    const [, layout, precision] = /^(.+)\.(\w+)\.onnx$/.exec(name) ?? [];
    if (layout === undefined || precision === undefined) continue;
    found.set(precision, [...(found.get(precision) ?? []), layout]);
  }
  for (const [precision, layouts] of found) {
    if (!layouts.includes(BASE))
      throw new Error(`${from}: no ${BASE}.${precision}.onnx. Write it with dslora layouts.`);
  }
  if (found.size === 0) throw new Error(`${from}: no graphs. Write them with dslora layouts.`);
  return found;
}

async function openAll(
  from: string,
  precision: string,
  layouts: readonly string[],
  threads: number,
): Promise<Map<string, InferenceSession>> {
  const sessions = new Map<string, InferenceSession>();
  for (const layout of layouts) {
    const session = await InferenceSession.create(join(from, `${layout}.${precision}.onnx`), {
      executionProviders: ['cpu'],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      // As in the service (src/engine/session.ts).
      graphOptimizationLevel: 'basic',
      logSeverityLevel: 3,
      // Threads of idle sessions would spin beside the one that runs.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    });
    sessions.set(layout, session);
  }
  return sessions;
}

/** By layout, the median milliseconds of a run in each round. */
async function compare(
  sessions: ReadonlyMap<string, InferenceSession>,
  rows: number,
  tokens: number,
): Promise<Map<string, number[]>> {
  const size = [rows, tokens];
  const ids = BigInt64Array.from({ length: rows * tokens }, (_, i) => BigInt(5 + ((i * 7) % 900)));
  const feeds = {
    input_ids: new Tensor('int64', ids, size),
    attention_mask: new Tensor('int64', new BigInt64Array(rows * tokens).fill(1n), size),
  };
  const names = [...sessions.keys()];
  const times = new Map(names.map((name) => [name, [] as number[]]));
  for (const session of sessions.values()) await session.run(feeds);
  for (let round = 0; round < rounds; round++) {
    // Turned and reversed, so that none always follows the same neighbour or always comes first.
    const turned = names.map((_, i) => names[(i + round) % names.length] as string);
    for (const name of round % 2 === 0 ? turned : turned.toReversed()) {
      const session = sessions.get(name) as InferenceSession;
      const runs: number[] = [];
      const end = performance.now() + seconds * 1000;
      do {
        const begun = performance.now();
        await session.run(feeds);
        runs.push(performance.now() - begun);
      } while (performance.now() < end);
      times.get(name)?.push(quantile(runs, 0.5));
    }
  }
  const base = times.get(BASE) as number[];
  return new Map([[BASE, base], ...[...times].filter(([name]) => name !== BASE)]);
}

function against(
  base: readonly number[],
  times: readonly number[],
): Pick<Figure, 'milliseconds' | 'overhead' | 'interval'> {
  const ratios = times.map((time, round) => time / (base[round] as number) - 1);
  return {
    milliseconds: Math.min(...times),
    overhead: quantile(ratios, 0.5),
    interval: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
  };
}

function asTable(all: readonly Figure[]): string {
  const lines = ['precision threads shape  layout       ms      over base (middle half of rounds)   over naive'];
  for (const each of all) {
    const naive = all.find(
      (o) =>
        o.layout === 'naive' && o.precision === each.precision && o.threads === each.threads && o.shape === each.shape,
    );
    const [low, high] = each.interval;
    const points = naive === undefined ? '' : percent(each.overhead - naive.overhead);
    lines.push(
      `${each.precision.padEnd(9)} ${String(each.threads).padEnd(7)} ${each.shape.padEnd(6)} ${each.layout.padEnd(10)} ` +
        `${each.milliseconds.toFixed(2).padStart(7)} ${percent(each.overhead).padStart(9)} ` +
        `(${percent(low)} … ${percent(high)})`.padEnd(24) +
        points.padStart(10),
    );
  }
  return lines.join('\n');
}

function percent(ratio: number): string {
  return `${ratio < 0 ? '−' : '+'}${Math.abs(ratio * 100).toFixed(1)} %`;
}
