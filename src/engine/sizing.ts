/**
 * How many inference processes, with how many threads and batches of what size: what is set counts most, then what was
 * measured on this machine (calibration.ts), then a rule by the size of the graphs.
 */
import { type StatedGraph, statedGraphs } from '../bundle/stated-graphs.ts';
import type { Calibration } from './calibration-file.ts';
import { usableCpus } from './cpus.ts';
import type { ProviderOption } from './trial.ts';

export interface Sizing {
  /** Inference processes. */
  readonly workers: number;
  /** Of each of them. */
  readonly threads: number;
  /** Of one batch, padding included. */
  readonly batchTokens: number;
}

export interface ChosenSizing extends Sizing {
  /** Where what was not set comes from. */
  readonly from: 'calibration' | 'rule';
  /** Why a calibration file was not used. */
  readonly warning: string | undefined;
}

/**
 * Bytes. A graph up to this is run by one process a core: most texts a second, and a copy of it in each is cheap. A larger
 * one is run by one process with all cores: its texts take so long that latency counts, and its copies cost memory.
 */
const LARGE_GRAPH = 300 * 1024 * 1024;

/** Larger batches of small models fall out of the processor's caches. */
const BATCH_TOKENS = 192;

export function isLarge(graphs: readonly Pick<StatedGraph, 'bytes'>[]): boolean {
  return graphs.some(({ bytes }) => bytes > LARGE_GRAPH);
}

export function sizingRule(graphs: readonly Pick<StatedGraph, 'bytes'>[], cpus: number): Sizing {
  const [workers, threads] = isLarge(graphs) ? [1, cpus] : [cpus, 1];
  return { workers, threads, batchTokens: BATCH_TOKENS };
}

/** What is set, completed. Workers without threads, or threads without workers, share out all processors. */
export function completeSizing(set: Partial<Sizing>, otherwise: Sizing, cpus: number): Sizing {
  const batchTokens = set.batchTokens ?? otherwise.batchTokens;
  const share = (of: number) => Math.max(1, Math.floor(cpus / of));
  if (set.workers !== undefined)
    return { workers: set.workers, threads: set.threads ?? share(set.workers), batchTokens };
  if (set.threads !== undefined) return { workers: share(set.threads), threads: set.threads, batchTokens };
  return { ...otherwise, batchTokens };
}

/** Graphs that may run on a provider; `auto` may take any, so the largest of them decides. */
export function graphsFor(graphs: readonly StatedGraph[], provider: ProviderOption): readonly StatedGraph[] {
  return provider === 'auto' ? graphs : graphs.filter((graph) => graph.executionProviders.includes(provider));
}

/**
 * @param calibrationFile path of what `calibrate` wrote; undefined for none
 * @throws CalibrationError when there is a file and it cannot be read or is none. One of another machine or for other models
 *   is left aside with a warning: one setting may serve machines of several kinds.
 */
export async function chooseSizing(options: {
  readonly modelsDir: string;
  readonly provider: ProviderOption;
  readonly calibrationFile: string | undefined;
  readonly set: Partial<Sizing>;
}): Promise<ChosenSizing> {
  const { modelsDir, provider, calibrationFile, set } = options;
  const cpus = usableCpus();
  // A folder that cannot be read is reported where its models are loaded.
  const graphs = graphsFor(await statedGraphs(modelsDir).catch(() => []), provider);
  let measured: Calibration | undefined;
  let warning: string | undefined;
  if (calibrationFile !== undefined) {
    // What most services do without is not loaded before their processes start.
    const [{ readCalibration, unfitness }, { thisMachine }] = await Promise.all([
      import('./calibration-file.ts'),
      import('./machine.ts'),
    ]);
    measured = await readCalibration(calibrationFile);
    const why = unfitness(measured, thisMachine(provider), graphs);
    if (why !== undefined) {
      warning = `${calibrationFile} is not used: ${why}. Measure again with \`npm run calibrate\`, or unset CALIBRATION_FILE.`;
      measured = undefined;
    }
  }
  const otherwise = measured?.choice ?? sizingRule(graphs, cpus);
  return { ...completeSizing(set, otherwise, cpus), from: measured === undefined ? 'rule' : 'calibration', warning };
}
