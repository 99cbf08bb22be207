/**
 * How far the texts that are served are from those that a model was developed on: the population stability index (PSI)
 * of its probabilities, gates and lengths over a sliding window (docs/drift.md).
 */
import type { ServedModel, TextResult } from '../../engine/types.ts';
import { type Column, driftColumns } from './bins.ts';
import { createDriftWindow, type DriftWindow } from './window.ts';

export interface DriftOptions {
  /** [DRIFT_WINDOW_TEXTS] Most texts in the window of a model; 0 follows nothing. */
  readonly driftWindowTexts: number;
  /** [DRIFT_WINDOW_MINUTES] After which a text leaves it. */
  readonly driftWindowMinutes: number;
  /** [DRIFT_MIN_TEXTS] With fewer texts no index is told: it would be noise. */
  readonly driftMinTexts: number;
}

export interface DriftReport {
  /** Texts in the window. */
  readonly texts: number;
  /** The rest is undefined while these are too few. */
  readonly indexes?: {
    readonly probabilities: readonly { readonly label: string; readonly psi: number }[];
    /** The mean over the modules of a layer. */
    readonly gates: readonly { readonly layer: string; readonly psi: number }[];
    readonly tokens: number | undefined;
  };
}

export interface Drift {
  /** Counts the answer to one text as it was sent. About a microsecond. */
  observe(model: ServedModel, result: Pick<TextResult, 'probabilities' | 'gates' | 'tokens'>): void;
  report(model: ServedModel): DriftReport;
}

interface Followed {
  readonly columns: readonly Column[];
  readonly window: DriftWindow;
}

const MINUTE_MS = 60_000;

/** @param clock milliseconds that never run backwards */
export function createDrift(options: DriftOptions, clock: () => number = () => performance.now()): Drift {
  const { driftWindowTexts: texts, driftWindowMinutes, driftMinTexts } = options;
  /** By the model as loaded: one that is unloaded takes its window along, and new content begins a new one. */
  const models = new WeakMap<ServedModel['manifest'], Followed>();

  function followed({ manifest }: ServedModel): Followed {
    const known = models.get(manifest);
    if (known !== undefined) return known;
    const columns = driftColumns(manifest);
    const fresh = { columns, window: createDriftWindow(columns, texts, driftWindowMinutes * MINUTE_MS) };
    models.set(manifest, fresh);
    return fresh;
  }

  return {
    observe(model, result) {
      if (texts > 0) followed(model).window.add(result, clock());
    },
    report(model) {
      const { columns, window } = models.get(model.manifest) ?? {};
      if (columns === undefined || window === undefined) return { texts: 0 };
      const now = clock();
      const size = window.size(now);
      if (size < Math.min(driftMinTexts, texts)) return { texts: size };
      const indexed = window.indexes(now).map((psi, k) => ({ ...(columns[k] as Column), psi }));
      const byLayer = Map.groupBy(
        indexed.filter(({ of }) => of === 'gate'),
        ({ name }) => name,
      );
      return {
        texts: size,
        indexes: {
          probabilities: indexed.flatMap(({ of, name, psi }) => (of === 'probability' ? [{ label: name, psi }] : [])),
          gates: [...byLayer].map(([layer, own]) => ({
            layer,
            psi: own.reduce((sum, { psi }) => sum + psi, 0) / own.length,
          })),
          tokens: indexed.find(({ of }) => of === 'tokens')?.psi,
        },
      };
    },
  };
}
