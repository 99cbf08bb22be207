/**
 * How fast models run on this machine now: a straight line through the last batches, milliseconds over tokens.
 *
 * A run costs something beside its tokens, little on a processor and nearly all there is on a GPU, so one number would
 * foretell a queue of full batches badly from the small ones that came before it.
 */
export interface Pace {
  /**
   * @param tokens that the graph ran on, padding counted
   * @param ms from when the batch was sent, or the one before it was done, until its answers were there
   */
  ran(model: string, tokens: number, ms: number): void;
  /** Milliseconds a worker needs for a batch; 0 before the first. */
  runMs(model: string, tokens: number): number;
  /** The most tokens that a batch of so many milliseconds may have. */
  tokensIn(model: string, ms: number): number;
}

/** What older batches count for, with every new one: the line follows the last fifty, a second or less under load. */
const FADING = 0.98;
/** Standard deviation of the batches' tokens, in parts of their mean, below which they say nothing of the slope. */
const LEAST_SPREAD = 0.1;
/** What a run costs beside its tokens, in tokens, while batches are too much alike to tell. */
const PRESUMED_OVERHEAD = 12;

/** Faded sums over batches of x = tokens and y = milliseconds. */
interface Sums {
  n: number;
  x: number;
  xx: number;
  y: number;
  xy: number;
}

interface Line {
  /** Milliseconds of a run without tokens, and of each token; neither is negative. */
  readonly overhead: number;
  readonly slope: number;
}

export function createPace(): Pace {
  const models = new Map<string, Sums>();
  const lines = new Map<string, Line>();
  const lineOf = (model: string) => lines.get(model) ?? { overhead: 0, slope: 0 };

  return {
    ran(model, tokens, ms) {
      const sums = models.get(model) ?? { n: 0, x: 0, xx: 0, y: 0, xy: 0 };
      models.set(model, sums);
      sums.n = FADING * sums.n + 1;
      sums.x = FADING * sums.x + tokens;
      sums.xx = FADING * sums.xx + tokens * tokens;
      sums.y = FADING * sums.y + ms;
      sums.xy = FADING * sums.xy + tokens * ms;
      lines.set(model, fit(sums));
    },
    runMs(model, tokens) {
      const { overhead, slope } = lineOf(model);
      return overhead + slope * tokens;
    },
    tokensIn(model, ms) {
      const { overhead, slope } = lineOf(model);
      return slope > 0 ? (ms - overhead) / slope : Number.POSITIVE_INFINITY;
    },
  };
}

/** Least squares; through what little is known where that gives no sensible line. */
function fit({ n, x, xx, y, xy }: Sums): Line {
  const [meanX, meanY] = [x / n, y / n];
  const variance = xx / n - meanX ** 2;
  if (variance > (LEAST_SPREAD * meanX) ** 2) {
    const slope = (xy / n - meanX * meanY) / variance;
    const overhead = meanY - slope * meanX;
    if (slope < 0) return { overhead: meanY, slope: 0 };
    return overhead < 0 ? { overhead: 0, slope: meanY / meanX } : { overhead, slope };
  }
  const slope = meanY / (meanX + PRESUMED_OVERHEAD);
  return { overhead: slope * PRESUMED_OVERHEAD, slope };
}
