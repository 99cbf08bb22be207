/**
 * The inference processes: a free one takes the best batch that waits.
 *
 * Windows of a batch whose process died or hung are given back to the scheduler once and run alone; one that fails a
 * second time is reported as failed. Each window is reported exactly once.
 */
import {
  createInferenceProcess,
  type InferenceProcess,
  rowsOf,
  type TrialWorker,
  type WindowOutput,
} from './inference-process.ts';
import type { LoadGraph, Ran } from './protocol.ts';
import type { Batch, Scheduler, Window, Workers } from './scheduler.ts';
import { ChildError, type ChildWatch } from './supervisor.ts';

export interface PoolEvents<T> {
  ran(window: Window<T>, output: WindowOutput, seconds: number): void;
  failed(window: Window<T>): void;
  /** It could not be answered in time any more, and was not run. */
  late(window: Window<T>): void;
  /** The process that held these windows died or hung; any of them may be the cause. */
  lost(windows: readonly Window<T>[]): void;
  /** False when nobody waits for the window any more: it is not run again. */
  wanted(window: Window<T>): boolean;
  /** A batch begins to run. */
  taken(batch: Batch<T>): void;
  /** @param ms from when the batch was sent to its process */
  finished(batch: Batch<T>, ran: Ran, ms: number): void;
}

/** A process that serves nothing. */
export interface SpareWorker {
  trial<R>(work: (worker: TrialWorker) => Promise<R>): Promise<R>;
  close(): Promise<void>;
}

export interface InferencePool {
  /** Runs `work` on one process, which takes no other trial meanwhile. */
  trial<R>(work: (worker: TrialWorker) => Promise<R>): Promise<R>;
  /** Starts a process to try bundles on while the others serve. */
  spare(): SpareWorker;
  /**
   * Every process loads the graph and keeps it, over replacements too; resolves when those that run have it, warm.
   *
   * @throws ChildError when one of them cannot load it; then none keeps it
   */
  serve(spec: LoadGraph): Promise<void>;
  /**
   * Replaces the processes one after the other by new ones that have loaded exactly these graphs, and are warm. There
   * are never fewer processes than before, and memory of what is no longer loaded goes back to the system.
   *
   * @throws ChildError when a new process cannot load one of them; then what was served goes on being served
   */
  renew(specs: readonly LoadGraph[]): Promise<void>;
  /** Frees sessions in the processes that run, which keep most of the memory. */
  withdraw(models: readonly string[]): Promise<void>;
  /** To be called after windows were offered to the scheduler. */
  wake(): void;
  /** True while a process runs that has loaded what is served. */
  readonly running: boolean;
  /** Processes that take batches now. */
  readonly size: number;
  close(): Promise<void>;
}

interface Worker<T> {
  readonly process: InferenceProcess;
  /** What it runs, and behind it what it has at hand to run next. */
  held: Batch<T>[];
  /** When the last batch was done. */
  doneAt: number;
  /** The batch that it ran when it died; those behind it had not begun. */
  suspect: Batch<T> | undefined;
  /** The trials of this process, one after the other. */
  trials: Promise<unknown>;
  trialCount: number;
  /** The batches that it runs. */
  work: Promise<void>;
}

export function createInferencePool<T extends { readonly ids: Int32Array }>(options: {
  readonly workers: number;
  readonly timeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly scheduler: Scheduler<T>;
  readonly events: PoolEvents<T>;
  /** A restarted process cannot load what is served; where no process has it, what waits for it fails. */
  readonly unloadable: (model: string, reason: string) => void;
  readonly watch: ChildWatch;
}): InferencePool {
  const { scheduler, events } = options;
  let served: readonly LoadGraph[] = [];
  const lostOnce = new WeakSet<Window<T>>();
  const workers: Worker<T>[] = Array.from({ length: options.workers }, () => startWorker(() => served));
  let closed = false;
  /** Beside the workers: processes that are tried on, that join, or that leave. */
  const others = new Set<Worker<T>>();

  /** @param specs what the process loads whenever it starts */
  function startWorker(specs: () => readonly LoadGraph[]): Worker<T> {
    const worker: Worker<T> = {
      process: createInferenceProcess({
        timeoutMs: options.timeoutMs,
        loadTimeoutMs: options.loadTimeoutMs,
        watch: options.watch,
        specs,
        unloadable(spec, reason) {
          if (workers.includes(worker)) options.unloadable(spec.model, reason);
        },
        prepared: wake,
        exited() {
          worker.suspect = worker.held[0];
          if (workers.every((own) => own.process.givenUp))
            for (const window of scheduler.drain()) events.failed(window);
        },
      }),
      held: [],
      doneAt: 0,
      suspect: undefined,
      trials: Promise.resolve(),
      trialCount: 0,
      work: Promise.resolve(),
    };
    return worker;
  }

  const isFree = (worker: Worker<T>) => worker.process.prepared && worker.held.length === 0;

  function wake(): void {
    if (scheduler.windows === 0) return;
    const now = performance.now();
    for (const window of scheduler.expire(now)) events.late(window);
    let idle = workers.filter(isFree).length;
    let busy = workers.filter(({ held }) => held.length > 0).length;
    for (const worker of workers) {
      if (!isFree(worker) || !give(worker, now, { idle, busy })) continue;
      idle--;
      busy++;
    }
    if (idle === 0)
      for (const worker of workers)
        if (worker.process.prepared && worker.held.length === 1) give(worker, now, { idle: 0, busy });
    if (workers.every(({ process }) => process.prepared)) failOrphans();
  }

  /** @returns whether there was a batch for it */
  function give(worker: Worker<T>, now: number, counts: Workers): boolean {
    const batch = scheduler.take(now, counts, (model) => worker.process.loaded.has(model));
    if (batch === undefined) return false;
    const before = worker.work;
    const running = run(worker, batch);
    worker.work = before.then(() => running);
    return true;
  }

  /** What waits for a model that no process could load would wait for ever. */
  function failOrphans(): void {
    const isServed = (model: string) => workers.some(({ process }) => process.loaded.has(model));
    for (const model of scheduler.models())
      if (!isServed(model)) for (const window of scheduler.drain((own) => own === model)) events.failed(window);
  }

  async function run(worker: Worker<T>, batch: Batch<T>): Promise<void> {
    worker.held.push(batch);
    events.taken(batch);
    const sent = performance.now();
    const ids = batch.windows.map(({ item }) => item.ids);
    try {
      const ran = await worker.process.send(batch.model, ids);
      const now = performance.now();
      const ms = now - Math.max(sent, worker.doneAt);
      worker.doneAt = now;
      // The next batch first: the process should not wait for the answers to be put together.
      worker.held.shift();
      wake();
      events.finished(batch, ran, ms);
      const outputs = rowsOf(ran, batch.windows.length);
      const tokens = batch.windows.reduce((sum, window) => sum + window.tokens, 0);
      batch.windows.forEach((window, row) => {
        events.ran(window, outputs[row] as WindowOutput, (ran.seconds * window.tokens) / tokens);
      });
    } catch (error) {
      worker.held.splice(worker.held.indexOf(batch), 1);
      runAgain(batch, error instanceof ChildError && error.kind === 'lost', worker.suspect === batch);
    }
  }

  /**
   * @param lost whether its process died
   * @param suspect whether the batch may be why
   */
  function runAgain(batch: Batch<T>, lost: boolean, suspect: boolean): void {
    if (lost && !suspect) {
      scheduler.giveBack(batch.windows.filter(events.wanted), performance.now(), false);
      wake();
      return;
    }
    if (lost) events.lost(batch.windows);
    const again = batch.windows.filter((window) => !lostOnce.has(window) && events.wanted(window));
    for (const window of again) lostOnce.add(window);
    scheduler.giveBack(again, performance.now(), true);
    wake();
    for (const window of batch.windows) if (!again.includes(window)) events.failed(window);
  }

  /** A process that has loaded all of `specs`, warm. @throws ChildError */
  async function startLoaded(specs: readonly LoadGraph[]): Promise<Worker<T>> {
    if (closed) throw new ChildError('lost', 'the service is shutting down');
    const worker = startWorker(() => served);
    others.add(worker);
    try {
      await worker.process.whenPrepared();
      for (const spec of specs) await worker.process.warm(spec);
      return worker;
    } catch (error) {
      await leave(worker);
      throw error;
    }
  }

  async function leave(worker: Worker<T>): Promise<void> {
    others.add(worker);
    await worker.work;
    await worker.process.close();
    others.delete(worker);
  }

  const keepServed = () => {
    const models = served.map(({ model }) => model);
    return Promise.allSettled(workers.map(({ process }) => process.keepOnly(models)));
  };

  return {
    trial(work) {
      const worker = workers.reduce((least, other) => (other.trialCount < least.trialCount ? other : least));
      worker.trialCount++;
      const outcome = worker.trials.then(async () => {
        // The bundle tried before may have taken the process with it.
        await worker.process.whenPrepared();
        return work(worker.process);
      });
      worker.trials = outcome.catch(() => {}).finally(() => worker.trialCount--);
      return outcome;
    },
    spare() {
      const worker = startWorker(() => []);
      others.add(worker);
      return {
        async trial(work) {
          await worker.process.whenPrepared();
          return work(worker.process);
        },
        close: () => leave(worker),
      };
    },
    async serve(spec) {
      served = [...served, spec];
      const loaded = await Promise.allSettled(
        workers.map(async ({ process }) => {
          // Where it was tried it is loaded, and warm from its golden vectors.
          if (!process.loaded.has(spec.model)) await process.warm(spec);
        }),
      );
      wake();
      // A process that died loads it when it comes back.
      const refusal = loaded.find((part) => part.status === 'rejected' && part.reason.kind === 'refused');
      if (refusal?.status !== 'rejected') return;
      served = served.filter((own) => own !== spec);
      await Promise.allSettled(workers.map(({ process }) => process.unload(spec.model)));
      throw refusal.reason;
    },
    async renew(specs) {
      const before = served;
      served = specs;
      try {
        for (const old of [...workers]) {
          const fresh = await startLoaded(specs);
          others.delete(fresh);
          workers.splice(workers.indexOf(old), 1, fresh);
          wake();
          await leave(old);
        }
      } catch (error) {
        served = before;
        await keepServed();
        throw error;
      }
    },
    async withdraw(models) {
      served = served.filter(({ model }) => !models.includes(model));
      await keepServed();
    },
    wake,
    get size() {
      return workers.filter(({ process }) => process.prepared).length;
    },
    get running() {
      return workers.some(({ process }) => process.prepared && process.loaded.size > 0);
    },
    async close() {
      closed = true;
      await Promise.all([...workers, ...others].map(({ process }) => process.close()));
    },
  };
}
