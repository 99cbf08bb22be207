/** The requests that loads are made of, and load with its cost. */
import { answeredRates, type Load, type LoadRequest, type LoadResult, sendLoad, statuses } from './load.ts';
import type { CpuShares } from './measurement.ts';
import { cpuByRole } from './processes.ts';
import type { Service } from './service.ts';
import type { SizedText, Workload } from './workload.ts';

/** Gates and probabilities are asked for as a client does who says nothing: with every layer. */
function bodyOf(workload: Workload, texts: readonly string[]): unknown {
  return { model: workload.manifest.name, texts };
}

/** Every text of the workload in a request of its own. */
export function singleTexts(workload: Workload, texts: readonly SizedText[] = workload.distinct): LoadRequest[] {
  return texts.map(({ text, tokens }) => ({ body: bodyOf(workload, [text]), texts: 1, tokens }));
}

/** Every text of the workload, so many in a request; the last is filled up from the first. */
export function groupedTexts(workload: Workload, size: number): LoadRequest[] {
  const { distinct: texts } = workload;
  return Array.from({ length: Math.ceil(texts.length / size) }, (_, i) => {
    const own = Array.from({ length: size }, (_, k) => texts[(i * size + k) % texts.length] as SizedText);
    return {
      body: bodyOf(
        workload,
        own.map(({ text }) => text),
      ),
      texts: size,
      tokens: own.reduce((sum, { tokens }) => sum + tokens, 0),
    };
  });
}

export interface MeasuredLoad extends LoadResult {
  /** Share of requests that were refused because too much waited (429). */
  readonly refusedShare: number;
  /** Texts a second, corrected for the mix: tokens a second over the mean of all texts. */
  readonly textsPerSecond: number;
  readonly cpu: CpuShares;
  /** Processor milliseconds of the service for one text, by role. */
  readonly cpuMsPerText: Readonly<Record<string, number>>;
}

/** @throws Error when a request was answered with anything but one of `expected` */
export async function measureLoad(
  service: Service,
  workload: Workload,
  cpus: number,
  load: Load,
  expected: readonly number[] = [200, 429],
): Promise<MeasuredLoad> {
  const before = cpuByRole(service.use());
  const begun = performance.now();
  const result = await sendLoad(service.url, load);
  const wall = (performance.now() - begun) / 1000;
  const after = cpuByRole(service.use());
  const counts = statuses(result);
  const unexpected = Object.keys(counts).filter((status) => !expected.includes(Number(status)));
  if (unexpected.length > 0)
    throw new Error(`The service answered with ${unexpected.join(', ')} (0: no connection), expected ${expected}`);

  const seconds = Object.fromEntries(Object.entries(after).map(([role, own]) => [role, own - (before[role] ?? 0)]));
  const byRole = Object.fromEntries(Object.entries(seconds).map(([role, own]) => [role, own / (wall * cpus)]));
  const textsPerSecond = answeredRates(result).tokens / workload.meanTokens;
  const answeredInAll = textsPerSecond * (load.warmUpSeconds + load.seconds);
  return {
    ...result,
    refusedShare: (counts[429] ?? 0) / Math.max(1, result.report.status.length),
    textsPerSecond,
    cpu: {
      generator: result.report.cpuSeconds / (result.report.seconds * cpus),
      service: Object.values(byRole).reduce((a, b) => a + b, 0),
      byRole,
    },
    cpuMsPerText: Object.fromEntries(
      Object.entries(seconds).map(([role, own]) => [role, answeredInAll > 0 ? (1000 * own) / answeredInAll : 0]),
    ),
  };
}
