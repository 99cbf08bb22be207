/** What a measurement is: a row of the table, and how it comes to its figures. */
import type { Bare, BareSetting } from './bare.ts';
import type { Workload } from './workload.ts';

/** How much time is spent. Figures of anything but `full` say that the benchmark works, not how fast the service is. */
export interface Effort {
  /** Texts that requests are made of. OLID's test split has 860. */
  readonly texts: number;
  /** Turns of what is compared. */
  readonly rounds: number;
  /** One turn of load. */
  readonly seconds: number;
  /** Load before a turn is counted. */
  readonly warmUpSeconds: number;
  /** A setting of the bare loop that is tried. */
  readonly trySeconds: number;
  /** Load while memory is watched. */
  readonly memorySeconds: number;
}

export const EFFORTS = {
  full: { texts: 860, rounds: 9, seconds: 4, warmUpSeconds: 1, trySeconds: 0.4, memorySeconds: 1200 },
  quick: { texts: 200, rounds: 2, seconds: 1, warmUpSeconds: 0.3, trySeconds: 0.02, memorySeconds: 6 },
  smoke: { texts: 16, rounds: 1, seconds: 0.2, warmUpSeconds: 0.05, trySeconds: 0, memorySeconds: 1.5 },
} as const satisfies Record<string, Effort>;

export interface Bench {
  readonly workload: Workload;
  /** Processors that may be used. */
  readonly cpus: number;
  readonly effort: Effort;
  readonly bare: Bare;
  /** Found when first asked for. */
  bestBare(): Promise<BareSetting>;
}

/** Share of the machine's processor time, 0 to 1. */
export interface CpuShares {
  readonly generator: number;
  readonly service: number;
  /** The service's share, by role of process. */
  readonly byRole: Readonly<Record<string, number>>;
}

export interface Finding {
  /** What stands in the table. */
  readonly measured: string;
  /** What the bare loop reached, where it is compared with. */
  readonly bare?: string;
  /** Undefined where nothing is demanded. */
  readonly pass?: boolean;
  /** While load ran. */
  readonly cpu?: CpuShares;
  /** Every figure, for machines; units are in the names. */
  readonly figures: Readonly<Record<string, unknown>>;
}

export interface Measurement {
  /** As `--only` takes it. */
  readonly name: string;
  readonly what: string;
  /** As the table says it. */
  readonly target?: string;
  run(bench: Bench): Promise<Finding>;
}

export interface Row extends Finding {
  readonly name: string;
  readonly what: string;
  readonly target?: string;
}

/** Three significant digits; a dash for what is no number, which JSON keeps as null. */
export function short(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return '—';
  return value !== 0 && Math.abs(value) < 1000 ? String(Number(value.toPrecision(3))) : String(Math.round(value));
}
