/** Token ids -> windows that fit the model (docs/bundle.md, "From text to tokens", step 4). */

/** The part of a manifest's `input` that windows depend on. */
export interface WindowShape {
  /** Tokens of one window, special tokens included. */
  readonly maxTokens: number;
  /** Ids that neighbouring windows share. */
  readonly windowOverlap: number;
  readonly prefixIds: readonly number[];
  readonly suffixIds: readonly number[];
}

/**
 * Cuts a text into overlapping windows. All are full but the only one of a short text: the last is moved back.
 *
 * @param ids the whole text's ids without special tokens; n of them, at least 1
 * @returns each window's ids, special tokens included, first to last
 */
export function cutWindows(ids: Int32Array, shape: WindowShape): Int32Array[] {
  const capacity = shape.maxTokens - shape.prefixIds.length - shape.suffixIds.length;
  if (ids.length <= capacity) return [frame(ids, shape)];
  const step = capacity - shape.windowOverlap;
  const last = ids.length - capacity;
  return Array.from({ length: Math.ceil(last / step) + 1 }, (_, k) => {
    const start = Math.min(k * step, last);
    return frame(ids.subarray(start, start + capacity), shape);
  });
}

/** Tokens of a text, each real one counted once, special tokens included. */
export function textTokens(ids: Int32Array, { prefixIds, suffixIds }: WindowShape): number {
  return ids.length + prefixIds.length + suffixIds.length;
}

function frame(ids: Int32Array, { prefixIds, suffixIds }: WindowShape): Int32Array {
  const window = new Int32Array(prefixIds.length + ids.length + suffixIds.length);
  window.set(prefixIds);
  window.set(ids, prefixIds.length);
  window.set(suffixIds, prefixIds.length + ids.length);
  return window;
}
