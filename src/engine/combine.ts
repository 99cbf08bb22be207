/** Windows of one text -> its answer (docs/bundle.md, "From text to tokens", step 6). */
import type { TextResult, WindowResult } from './types.ts';

/**
 * The probabilities of the most offensive window, and gates averaged by tokens.
 *
 * @param windows at least one, first to last
 * @param positive columns of `probabilities` that mean "offensive"
 * @param tokens token count of the text, each real token counted once
 */
export function combineWindows(
  windows: readonly WindowResult[],
  positive: readonly number[],
  tokens: number,
): TextResult {
  const [first, ...rest] = windows as readonly [WindowResult, ...WindowResult[]];
  if (rest.length === 0) return { tokens, probabilities: first.probabilities, gates: first.gates, windows };

  const offensive = (window: WindowResult) =>
    positive.reduce((sum, column) => sum + (window.probabilities[column] as number), 0);
  const worst = rest.reduce((best, window) => (offensive(window) > offensive(best) ? window : best), first);

  const total = windows.reduce((sum, window) => sum + window.tokens, 0);
  const gates = first.gates.map(
    (_, column) => windows.reduce((sum, window) => sum + window.tokens * (window.gates[column] as number), 0) / total,
  );
  return { tokens, probabilities: worst.probabilities, gates, windows };
}
