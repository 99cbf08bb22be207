/** Classes and scores as text-embeddings-inference lists them. */
import { type Static, Type } from 'typebox';

import type { ServedModel } from '../../../engine/types.ts';
import { logProbability, type Scored } from '../classified.ts';

export const Predictions = Type.Array(Type.Object({ score: Type.Number(), label: Type.String() }), {
  description: 'Every class, most probable first',
});

/** @param raw logarithms of the probabilities instead */
export function predictions(
  { manifest }: ServedModel,
  { exact, probabilities }: Scored,
  raw: boolean,
): Static<typeof Predictions> {
  const exactly = (index: number) => exact.probabilities[index] as number;
  return manifest.labels
    .map((label, index) => ({ label, index }))
    .sort((one, other) => exactly(other.index) - exactly(one.index))
    .map(({ label, index }) => ({
      score: raw ? logProbability(exactly(index)) : (probabilities[index] as number),
      label,
    }));
}
