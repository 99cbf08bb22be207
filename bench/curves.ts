/** Throughput over connections, texts a request, length and workers: where more brings nothing more. */
import { writeFileSync } from 'node:fs';

import { type Command, keptFile } from './command.ts';
import { kneeOf } from './knee.ts';
import { type LoadRequest, latencyAt } from './load.ts';
import { groupedTexts, measureLoad, singleTexts } from './loads.ts';
import { short } from './measurement.ts';
import { drawPlot, type PlotPoint } from './plot.ts';
import { createRandom } from './random.ts';
import { type Conditions, describeConditions, writeJson } from './report.ts';
import { type Service, startService } from './service.ts';
import { spread } from './statistics.ts';
import { shuffledWords, textOfTokens } from './texts.ts';
import type { Workload } from './workload.ts';

export interface Curve {
  readonly name: string;
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly knee: number;
  readonly points: readonly (PlotPoint & Omit<Sample, 'rate'>)[];
}

export interface CurvesReport {
  readonly conditions: Conditions;
  readonly curves: readonly Curve[];
}

/** One point: what is sent, over how many connections, to a service with which settings. */
interface Setup {
  readonly requests: readonly LoadRequest[];
  readonly connections: number;
  readonly env?: Readonly<Record<string, string>>;
}

interface CurveKind extends Pick<Curve, 'name' | 'title' | 'x' | 'y'> {
  readonly unit: 'texts' | 'tokens';
  values(cpus: number): readonly number[];
  setup(workload: Workload, value: number): Setup;
}

/** Of an effort's turn: there are many points, and the rounds show their spread. */
const TURN = 0.6;

const DOUBLING = [1, 2, 4, 8, 16, 32, 64, 128, 256];

const KINDS: readonly CurveKind[] = [
  {
    name: 'connections',
    title: 'One text a request',
    x: 'connections',
    y: 'texts/s',
    unit: 'texts',
    values: () => DOUBLING,
    setup: (workload, connections) => ({ requests: singleTexts(workload), connections }),
  },
  {
    name: 'texts-a-request',
    title: 'Four connections',
    x: 'texts a request',
    y: 'texts/s',
    unit: 'texts',
    values: () => DOUBLING,
    setup: (workload, size) => ({ requests: groupedTexts(workload, size), connections: 4 }),
  },
  {
    name: 'length',
    title: 'Texts of one length, one a request, 64 connections',
    x: 'tokens of a text',
    y: 'tokens/s',
    unit: 'tokens',
    values: () => [8, 16, 32, 64, 128, 256, 512],
    setup: (workload, tokens) => ({ requests: textsOfLength(workload, tokens), connections: 64 }),
  },
  {
    name: 'workers',
    title: 'Inference processes of one thread, one text a request, 64 connections',
    x: 'workers',
    y: 'texts/s',
    unit: 'texts',
    values: (cpus) => [...new Set([1, Math.ceil(cpus / 2), cpus, cpus + 1, 2 * cpus])].sort((a, b) => a - b),
    setup: (workload, workers) => ({
      requests: singleTexts(workload),
      connections: 64,
      env: { WORKERS: `${workers}`, THREADS: '1' },
    }),
  },
];

export const curves: Command = async ({ bench, conditions, only, save, say }) => {
  const { workload, cpus, effort } = bench;
  const rounds = Math.ceil(effort.rounds / 3);
  const names = KINDS.map(({ name }) => name);
  const unknown = (only ?? []).filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`No such curves: ${unknown.join(', ')}. There are: ${names.join(', ')}`);
  const shared = await startService({ modelsDir: workload.modelsDir });
  const drawn: Curve[] = [];
  for (const kind of KINDS) {
    if (only !== undefined && !only.includes(kind.name)) continue;
    say(`measuring the curve over ${kind.x} …`);
    const values = kind.values(cpus);
    const found = new Map(values.map((value) => [value, [] as Sample[]]));
    for (let round = 0; round < rounds; round++)
      // Forwards, then backwards: a machine that slows down must not look like a curve.
      for (const value of round % 2 === 0 ? values : values.toReversed())
        found.get(value)?.push(await sample(kind.setup(workload, value), kind.unit, round + 1));
    const points = values.map((value) => pointOf(value, found.get(value) as Sample[]));
    const { name, title, x, y } = kind;
    drawn.push({ name, title, x, y, knee: kneeOf(points), points });
  }
  await shared.stop();

  const report: CurvesReport = { conditions, curves: drawn };
  if (save) {
    if (only === undefined) writeJson(keptFile('curves.json'), report);
    for (const curve of drawn) writeFileSync(keptFile(`${curve.name}.svg`), await drawPlot(curve));
  }
  return { text: curvesMarkdown(report), json: report };

  async function sample({ requests, connections, env }: Setup, unit: 'texts' | 'tokens', seed: number) {
    const service: Service = env === undefined ? shared : await startService({ modelsDir: workload.modelsDir, env });
    const load = {
      requests,
      arrivals: { connections },
      warmUpSeconds: effort.warmUpSeconds,
      seconds: effort.seconds * TURN,
      seed,
    };
    const result = await measureLoad(service, workload, cpus, load);
    if (service !== shared) await service.stop();
    const texts = result.textsPerSecond;
    return {
      rate: unit === 'texts' ? texts : texts * workload.meanTokens,
      p50Ms: latencyAt(result, 0.5) ?? Number.NaN,
      p99Ms: latencyAt(result, 0.99) ?? Number.NaN,
      refusedShare: result.refusedShare,
    };
  }
};

interface Sample {
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly refusedShare: number;
}

function pointOf(x: number, samples: readonly Sample[]): Curve['points'][number] {
  const { median, min, max } = spread(samples.map(({ rate }) => rate));
  const middle = (of: (sample: Sample) => number) => spread(samples.map(of)).median;
  return {
    x,
    y: median,
    low: min,
    high: max,
    p50Ms: middle((sample) => sample.p50Ms),
    p99Ms: middle((sample) => sample.p99Ms),
    refusedShare: middle((sample) => sample.refusedShare),
  };
}

const WORD_ORDERS = 50;
const BASE_TEXTS = 20;

/** No two the same, for the reason that `Workload.distinct` has. */
function textsOfLength(workload: Workload, tokens: number): LoadRequest[] {
  const texts = Array.from({ length: BASE_TEXTS }, (_, base) => {
    const text = textOfTokens(tokens, base + 1, (own) => workload.size(own)?.tokens ?? 0);
    const random = createRandom(base + 1);
    return Array.from({ length: WORD_ORDERS }, () => workload.size(shuffledWords(text, random)) ?? []).flat();
  });
  return singleTexts(workload, texts.flat());
}

export function curvesMarkdown({ conditions, curves: drawn }: CurvesReport): string {
  const line = (...cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    describeConditions(conditions),
    ...drawn.flatMap(({ name, title, x, y, knee, points }) => [
      '',
      `![${y} over ${x}](performance/${name}.svg)`,
      '',
      `${title}: the knee is at ${knee} ${x}.`,
      '',
      line(x, ...points.map((point) => (point.x === knee ? `**${point.x}**` : `${point.x}`))),
      line(...[x, ...points].map(() => '---')),
      line(y, ...points.map((point) => short(point.y))),
      line('p50 (ms)', ...points.map((point) => short(point.p50Ms))),
      line('p99 (ms)', ...points.map((point) => short(point.p99Ms))),
      line('refused', ...points.map((point) => `${short(point.refusedShare * 100)} %`)),
    ]),
  ].join('\n');
}
