/** What is seen of texts without a model: disguises and languages. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { type Disguises, findDisguises } from './evasion/fold.ts';
import type { DetectLanguage } from './language.ts';

export interface Inspection {
  readonly disguises: Disguises;
  /** Undefined when the detector is not sure, or not asked. */
  readonly language: string | undefined;
}

/** Milliseconds of work after which others have their turn: it happens in the process that answers requests. */
const TURN_MS = 5;

export async function inspect(
  texts: readonly string[],
  detectLanguage: DetectLanguage | undefined,
): Promise<Inspection[]> {
  const inspections: Inspection[] = [];
  let begun = performance.now();
  for (const text of texts) {
    if (performance.now() - begun > TURN_MS) {
      await nextTurn();
      begun = performance.now();
    }
    const disguises = findDisguises(text);
    inspections.push({ disguises, language: detectLanguage?.(disguises.folded) });
  }
  return inspections;
}
