/** What the columns of a model's `probabilities` say. */

/** @param probabilities at least one @returns the column of the greatest, the first of equal ones */
export function mostProbable(probabilities: readonly number[]): number {
  return probabilities.indexOf(Math.max(...probabilities));
}
