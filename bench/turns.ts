/** Things that are compared take turns, so that whatever else the machine does hits them alike. */

/**
 * Every contender once a round, in an order that turns with the rounds.
 *
 * @returns for each contender one value a round
 */
export async function takeTurns<Name extends string, Value>(
  rounds: number,
  contenders: Readonly<Record<Name, (round: number) => Promise<Value>>>,
): Promise<Record<Name, Value[]>> {
  const names = Object.keys(contenders) as Name[];
  const values = Object.fromEntries(names.map((name) => [name, [] as Value[]])) as Record<Name, Value[]>;
  for (let round = 0; round < rounds; round++)
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round) % names.length] as Name;
      values[name].push(await contenders[name](round));
    }
  return values;
}

/** One over the other, round by round. */
export function ratios(above: readonly number[], below: readonly number[]): number[] {
  return above.map((value, i) => value / (below[i] as number));
}
