/**
 * What the p99 of short texts suffers from 1 % texts of 50,000 characters.
 *
 * Requests arrive as a Poisson process at half of what the service can do of the mix; without long texts, the short ones
 * arrive at the same rate.
 */
import { type LoadRequest, latencies } from '../load.ts';
import { type MeasuredLoad, measureLoad, singleTexts } from '../loads.ts';
import { type Measurement, short } from '../measurement.ts';
import { startService } from '../service.ts';
import { quantile, spread } from '../statistics.ts';
import { longText } from '../texts.ts';
import { takeTurns } from '../turns.ts';

const AT_MOST = 3;
const LONG_SHARE = 0.01;
const LONG_CHARACTERS = 50_000;
const LONG_TEXTS = 20;
const UTILIZATION = 0.5;
const LONG_KIND = 1;
/** A p99 needs hundreds of texts, and few arrive where each hundredth is so long. */
const TURN = 5;

/** Short loads on a busy machine may see no answer at all: then there is no figure, and the others still count. */
const quantileOf = (values: ArrayLike<number>, q: number) => (values.length === 0 ? Number.NaN : quantile(values, q));

export const mixedLoad: Measurement = {
  name: 'mixed-load',
  what: `mixed load: ${LONG_SHARE * 100} % texts of ${LONG_CHARACTERS.toLocaleString('en')} characters`,
  target: `p99 of short texts at most ${AT_MOST} times that without`,
  async run({ workload, cpus, effort }) {
    const service = await startService({
      modelsDir: workload.modelsDir,
      env: { MAX_TEXT_CHARS: `${LONG_CHARACTERS}` },
    });
    const shortOnes = singleTexts(workload);
    const longOnes = singleTexts(
      workload,
      Array.from({ length: LONG_TEXTS }, (_, i) => workload.size(longText(LONG_CHARACTERS, i + 1)) ?? []).flat(),
    ).map((request): LoadRequest => ({ ...request, kind: LONG_KIND }));
    const shortCopies = Math.round((longOnes.length * (1 - LONG_SHARE)) / LONG_SHARE);
    const mix = [
      ...longOnes,
      ...Array.from({ length: shortCopies }, (_, i) => shortOnes[i % shortOnes.length] as LoadRequest),
    ];

    const { warmUpSeconds } = effort;
    const closed = { requests: shortOnes, arrivals: { connections: 64 }, warmUpSeconds, seconds: effort.seconds };
    const capacity = (await measureLoad(service, workload, cpus, closed)).textsPerSecond * workload.meanTokens;
    const meanTokens = mix.reduce((sum, { tokens }) => sum + tokens, 0) / mix.length;
    const ratePerSecond = (UTILIZATION * capacity) / meanTokens;

    const all: Record<'without' | 'with', Float64Array[]> = { without: [], with: [] };
    let cpu: MeasuredLoad['cpu'] | undefined;
    let longP50 = Number.NaN;
    let refused = 0;
    const turn = (name: keyof typeof all, requests: readonly LoadRequest[], rate: number) => async (round: number) => {
      const load = {
        requests,
        arrivals: { ratePerSecond: rate },
        warmUpSeconds,
        seconds: effort.seconds * TURN,
        seed: round + 1,
      };
      const result = await measureLoad(service, workload, cpus, load);
      const own = latencies(result, 200, 0);
      refused = Math.max(refused, result.refusedShare);
      if (name === 'with') {
        cpu = result.cpu;
        const long = latencies(result, 200, LONG_KIND);
        if (long.length > 0) longP50 = quantile(long, 0.5);
      }
      all[name].push(own);
      return quantileOf(own, 0.99);
    };
    const rounds = await takeTurns(Math.ceil(effort.rounds / 2), {
      without: turn('without', shortOnes, ratePerSecond * (1 - LONG_SHARE)),
      with: turn('with', mix, ratePerSecond),
    });
    await service.stop();

    const pooled = (name: keyof typeof all) => {
      const values = all[name].flatMap((own) => [...own]);
      return { texts: values.length, p50Ms: quantileOf(values, 0.5), p99Ms: quantileOf(values, 0.99) };
    };
    const [without, withLong] = [pooled('without'), pooled('with')];
    const times = withLong.p99Ms / without.p99Ms;
    return {
      measured:
        `${short(times)} times: ${short(withLong.p99Ms)} ms, without ${short(without.p99Ms)} ms ` +
        `(${withLong.texts} and ${without.texts} short texts; a long one ${short(longP50 / 1000)} s; at most ${short(refused * 100)} % refused)`,
      pass: times <= AT_MOST,
      ...(cpu === undefined ? {} : { cpu }),
      figures: {
        times,
        without,
        with: withLong,
        p99MsByRound: rounds,
        spreadOfRounds: { without: spread(rounds.without), with: spread(rounds.with) },
        refusedShare: refused,
        ratePerSecond,
        utilization: UTILIZATION,
        longTextTokens: longOnes.map(({ tokens }) => tokens),
      },
    };
  },
};
