/** Where more brings little. */

/** A curve's knee: its first point within 5 % of its highest. */
const NEAR = 0.95;

/** @param points in order of x, at least one */
export function kneeOf(points: readonly { readonly x: number; readonly y: number }[]): number {
  const most = Math.max(...points.map(({ y }) => y));
  return (points.find(({ y }) => y >= NEAR * most) as { x: number }).x;
}
