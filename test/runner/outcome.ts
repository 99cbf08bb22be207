/** What came of one step: counts of tests, and what a person should read. */
export interface Outcome {
  readonly passed: number;
  readonly failed: number;
  /** Why each skipped test was skipped. */
  readonly skips: readonly string[];
  /** Shown when something failed. */
  readonly report: string;
}

/** A check counts as one test. */
export function check(ok: boolean, report: string): Outcome {
  return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skips: [], report };
}

/** What no installation can bring; only this may be skipped where everything must run. */
const HARDWARE = /\b(GPU|CUDA)\b/;

/** Where nothing may be missing (CI), a skipped test is a failed one. */
export function forbidSkips(outcome: Outcome): Outcome {
  const excused = outcome.skips.filter((reason) => HARDWARE.test(reason));
  const missed = outcome.skips.filter((reason) => !HARDWARE.test(reason));
  if (missed.length === 0) return outcome;
  return {
    passed: outcome.passed,
    failed: outcome.failed + missed.length,
    skips: excused,
    report: [outcome.report, ...missed.map((reason) => `skipped, which CI does not allow: ${reason}`)].join('\n'),
  };
}
