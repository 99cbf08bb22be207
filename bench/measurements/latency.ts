/** What the service adds to one text on an idle machine. */
import { latencyAt } from '../load.ts';
import { measureLoad, singleTexts } from '../loads.ts';
import { type Measurement, short } from '../measurement.ts';
import { startService } from '../service.ts';
import { quantile, spread } from '../statistics.ts';
import { takeTurns } from '../turns.ts';

const AT_MOST_MS = 1;
const TEXTS = 200;
/** About as long as a process waits between two texts that a client sends one after the other. */
const PAUSE_MS = 3;
/** Stages of a text, by the histogram that the service keeps of them. */
const STAGES = {
  queue: 'dslora_queue_wait_seconds',
  tokenize: 'dslora_tokenize_seconds',
  inference: 'dslora_inference_seconds',
  request: 'dslora_http_request_duration_seconds',
} as const;

export const latency: Measurement = {
  name: 'latency',
  what: 'added latency of one text, idle service, p50',
  target: `at most ${AT_MOST_MS} ms over the bare run`,
  async run({ workload, cpus, effort, bare }) {
    const texts = workload.texts.slice(0, TEXTS);
    const windows = texts.flatMap((text) => text.windows);
    // The same texts on both sides; one at a time, none meets itself.
    const requests = singleTexts(workload, texts);
    const service = await startService({ modelsDir: workload.modelsDir });
    let cpu: Awaited<ReturnType<typeof measureLoad>>['cpu'] | undefined;

    const bareAt = (threads: number, pauseMs?: number) => async () => {
      const byWindow = await bare.latencies(threads, windows, pauseMs);
      let next = 0;
      const times = texts.map((text) => text.windows.reduce((sum) => sum + (byWindow[next++] as number), 0));
      return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
    };
    const turns = await takeTurns(effort.rounds, {
      // The service gives a small model one thread a worker; what all threads on one text would save stands beside it.
      oneThread: bareAt(1),
      paused: bareAt(1, PAUSE_MS),
      allThreads: bareAt(cpus),
      service: async () => {
        const { warmUpSeconds, seconds } = effort;
        const load = { requests, arrivals: { connections: 1 }, warmUpSeconds, seconds };
        const result = await measureLoad(service, workload, cpus, load);
        cpu = result.cpu;
        return { p50: latencyAt(result, 0.5) ?? Number.NaN, p99: latencyAt(result, 0.99) ?? Number.NaN };
      },
    });
    const metrics = await service.metrics();
    await service.stop();

    const meanMs = (name: string) =>
      (1000 * (metrics.get(`${name}_sum`) ?? Number.NaN)) / (metrics.get(`${name}_count`) ?? Number.NaN);
    const stages = Object.fromEntries(Object.entries(STAGES).map(([stage, name]) => [stage, meanMs(name)]));
    const p50 = (values: readonly { p50: number }[]) => values.map((value) => value.p50);
    const added = spread(p50(turns.service).map((value, i) => value - (p50(turns.oneThread)[i] as number)));
    const addedToPaused = spread(p50(turns.service).map((value, i) => value - (p50(turns.paused)[i] as number)));
    const addedToAll = spread(p50(turns.service).map((value, i) => value - (p50(turns.allThreads)[i] as number)));
    const bareP50 = spread(p50(turns.oneThread)).median;
    return {
      measured: `${short(added.median)} ms (${short(added.min)}-${short(added.max)}): ${short(spread(p50(turns.service)).median)} ms; ${short(addedToPaused.median)} ms over a bare loop that idles between texts`,
      bare:
        `${short(bareP50)} ms on one thread, ${short(spread(p50(turns.allThreads)).median)} ms on ${cpus}; ` +
        `${short(spread(p50(turns.paused)).median)} ms after ${PAUSE_MS} ms of idling`,
      pass: added.median <= AT_MOST_MS,
      ...(cpu === undefined ? {} : { cpu }),
      figures: {
        addedP50Ms: added,
        addedToPausedP50Ms: addedToPaused,
        addedToAllThreadsP50Ms: addedToAll,
        stages,
        ...turns,
      },
    };
  },
};
