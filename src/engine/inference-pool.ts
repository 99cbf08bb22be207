/**
 * The inference processes: a free one takes the best batch that waits.
 *
 * Windows of a batch whose process died or hung are given back to the scheduler once and run alone; one that fails a
 * second time is reported as failed. Each window is reported exactly once.
 */
import type { GraphChoice, LoadGraph, Ran, Run } from './protocol.ts';
import type { Batch, Scheduler, Window, Workers } from './scheduler.ts';
import { ChildError, type ChildWatch, type SupervisedChild, superviseChild } from './supervisor.ts';

/** What one window's run gave. */
export interface WindowOutput {
  readonly probabilities: readonly number[];
  readonly gates: readonly number[];
}

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

/** One process while a bundle is tried out on it. */
export interface TrialWorker {
  /** @throws ChildError when no choice can be loaded, or the process died over it */
  load(spec: LoadGraph): Promise<GraphChoice>;
  /** Runs windows as one batch. @throws ChildError */
  run(model: string, windows: readonly Int32Array[]): Promise<WindowOutput[]>;
  unload(model: string): Promise<void>;
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

/** As in the tokenizer's lane: failed starts in a row, of every process, after which waiting windows are given up. */
const GIVE_UP_AFTER = 5;

/** Milliseconds that one graph may be warmed up on one process; the run that exceeds them is the last. */
const WARM_UP_MS = 500;
/** A short text, a longer one, and some together. */
const WARM_UP_SHAPES = [
  { rows: 1, longest: 8 },
  { rows: 1, longest: 64 },
  { rows: 4, longest: 16 },
] as const;

interface Worker<T> {
  readonly child: SupervisedChild;
  readonly loaded: Set<string>;
  /** All that is served is loaded, or could not be. */
  prepared: boolean;
  /** What it runs, and behind it what it has at hand to run next. */
  held: Batch<T>[];
  /** When the last batch was done. */
  doneAt: number;
  /** The batch that it ran when it died; those behind it had not begun. */
  suspect: Batch<T> | undefined;
  /** The trials of this process, one after the other. */
  trials: Promise<unknown>;
  trialCount: number;
  /** The batch that it runs. */
  work: Promise<void>;
  /** Called when the process is prepared, or is given up. */
  readonly awaiting: (() => void)[];
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
  const { scheduler, events, timeoutMs, loadTimeoutMs } = options;
  let served: readonly LoadGraph[] = [];
  const lostOnce = new WeakSet<Window<T>>();
  const workers: Worker<T>[] = Array.from({ length: options.workers }, () => startWorker(() => served));
  let closed = false;
  /** Beside the workers: processes that are tried on, that join, or that leave. */
  const others = new Set<Worker<T>>();

  /** @param specs what the process loads whenever it starts */
  function startWorker(specs: () => readonly LoadGraph[]): Worker<T> {
    const worker: Worker<T> = {
      child: superviseChild('inference', {
        started: () => void prepare(worker, specs()),
        watch: options.watch,
        exited() {
          worker.loaded.clear();
          worker.prepared = false;
          worker.suspect = worker.held[0];
          if (worker.child.failures >= GIVE_UP_AFTER || closed) release(worker);
          if (workers.every(({ child }) => child.failures >= GIVE_UP_AFTER))
            for (const window of scheduler.drain()) events.failed(window);
        },
      }),
      loaded: new Set(),
      prepared: false,
      held: [],
      doneAt: 0,
      suspect: undefined,
      trials: Promise.resolve(),
      trialCount: 0,
      work: Promise.resolve(),
      awaiting: [],
    };
    return worker;
  }

  async function prepare(worker: Worker<T>, specs: readonly LoadGraph[]): Promise<void> {
    for (const spec of specs)
      await loadOn(worker, spec).catch((error: unknown) => {
        const serves = workers.includes(worker);
        if (serves && error instanceof ChildError && error.kind === 'refused')
          options.unloadable(spec.model, error.message);
      });
    worker.prepared = worker.child.running;
    if (worker.prepared) release(worker);
    wake();
  }

  function release(worker: Worker<T>): void {
    for (const proceed of worker.awaiting.splice(0)) proceed();
  }

  async function loadOn(worker: Worker<T>, spec: LoadGraph): Promise<void> {
    if (worker.loaded.has(spec.model)) return;
    await worker.child.call(spec, loadTimeoutMs);
    worker.loaded.add(spec.model);
  }

  const isFree = (worker: Worker<T>) => worker.prepared && worker.held.length === 0;

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
        if (worker.prepared && worker.held.length === 1) give(worker, now, { idle: 0, busy });
    if (workers.every(({ prepared }) => prepared)) failOrphans();
  }

  /** @returns whether there was a batch for it */
  function give(worker: Worker<T>, now: number, counts: Workers): boolean {
    const batch = scheduler.take(now, counts, (model) => worker.loaded.has(model));
    if (batch === undefined) return false;
    const before = worker.work;
    const running = run(worker, batch);
    worker.work = before.then(() => running);
    return true;
  }

  /** What waits for a model that no process could load would wait for ever. */
  function failOrphans(): void {
    const orphaned = (model: string) => !workers.some(({ loaded }) => loaded.has(model));
    for (const window of scheduler.drain(orphaned)) events.failed(window);
  }

  /** A process that has loaded all of `specs`, warm. @throws ChildError */
  async function startLoaded(specs: readonly LoadGraph[]): Promise<Worker<T>> {
    if (closed) throw new ChildError('lost', 'the service is shutting down');
    const worker = startWorker(() => served);
    others.add(worker);
    try {
      await prepared(worker);
      for (const spec of specs) {
        await loadOn(worker, spec);
        await warm(worker, spec);
      }
      return worker;
    } catch (error) {
      await leave(worker);
      throw error;
    }
  }

  async function unloadOthers(worker: Worker<T>, specs: readonly LoadGraph[]): Promise<void> {
    for (const model of worker.loaded) if (!specs.some((spec) => spec.model === model)) await unloadOn(worker, model);
  }

  async function unloadOn(worker: Worker<T>, model: string): Promise<void> {
    worker.loaded.delete(model);
    await worker.child.call({ type: 'unload-graph', model }, timeoutMs);
  }

  async function leave(worker: Worker<T>): Promise<void> {
    others.add(worker);
    await worker.work;
    await worker.child.close();
    others.delete(worker);
  }

  async function prepared(worker: Worker<T>): Promise<void> {
    if (!worker.prepared) await new Promise<void>((resolve) => worker.awaiting.push(resolve));
  }

  /** The first runs of a session are slow: some shapes before anybody waits for them, for a bounded time. */
  async function warm(worker: Worker<T>, { model, padId, maxTokens }: LoadGraph): Promise<void> {
    const until = performance.now() + WARM_UP_MS;
    for (const { rows, longest } of WARM_UP_SHAPES) {
      if (performance.now() > until) return;
      const tokens = Math.min(longest, maxTokens);
      const ids = new Int32Array(tokens).fill(padId);
      await worker.child
        .call(runRequest(model, new Array(rows).fill(ids)), loadTimeoutMs)
        .catch((error: ChildError) => {
          // Padding alone is no text that the graph must be able to read.
          if (error.kind !== 'refused') throw error;
        });
    }
  }

  async function run(worker: Worker<T>, batch: Batch<T>): Promise<void> {
    worker.held.push(batch);
    events.taken(batch);
    const sent = performance.now();
    const ids = batch.windows.map(({ item }) => item.ids);
    try {
      // The one behind waits for the one before.
      const ran = await worker.child.call(runRequest(batch.model, ids), timeoutMs * worker.held.length);
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
      const lost = error instanceof ChildError && error.kind === 'lost';
      if (lost && worker.suspect !== batch) {
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
  }

  return {
    trial(work) {
      const worker = workers.reduce((least, other) => (other.trialCount < least.trialCount ? other : least));
      worker.trialCount++;
      const outcome = worker.trials.then(async () => {
        // The bundle tried before may have taken the process with it.
        await prepared(worker);
        return work(trialWorker(worker, timeoutMs, loadTimeoutMs));
      });
      worker.trials = outcome.catch(() => {}).finally(() => worker.trialCount--);
      return outcome;
    },
    spare() {
      const worker = startWorker(() => []);
      others.add(worker);
      return {
        async trial(work) {
          await prepared(worker);
          return work(trialWorker(worker, timeoutMs, loadTimeoutMs));
        },
        close: () => leave(worker),
      };
    },
    async serve(spec) {
      served = [...served, spec];
      const loaded = await Promise.allSettled(
        workers.map(async (worker) => {
          // Where it was tried it is loaded, and warm from its golden vectors.
          if (worker.loaded.has(spec.model)) return;
          await loadOn(worker, spec);
          await warm(worker, spec);
        }),
      );
      wake();
      // A process that died loads it when it comes back.
      const refusal = loaded.find((part) => part.status === 'rejected' && part.reason.kind === 'refused');
      if (refusal?.status !== 'rejected') return;
      served = served.filter((own) => own !== spec);
      await Promise.allSettled(workers.map((worker) => unloadOn(worker, spec.model)));
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
        await Promise.allSettled(workers.map((worker) => unloadOthers(worker, before)));
        throw error;
      }
    },
    async withdraw(models) {
      served = served.filter(({ model }) => !models.includes(model));
      await Promise.allSettled(workers.map((worker) => unloadOthers(worker, served)));
    },
    wake,
    get size() {
      return workers.filter(({ prepared }) => prepared).length;
    },
    get running() {
      return workers.some((worker) => worker.prepared && worker.loaded.size > 0);
    },
    async close() {
      closed = true;
      await Promise.all([...workers, ...others].map(({ child }) => child.close()));
    },
  };
}

function trialWorker<T>(worker: Worker<T>, timeoutMs: number, loadTimeoutMs: number): TrialWorker {
  return {
    async load(spec) {
      const { choice } = await worker.child.call(spec, loadTimeoutMs);
      worker.loaded.add(spec.model);
      return spec.choices[choice] as GraphChoice;
    },
    async run(model, windows) {
      return rowsOf(await worker.child.call(runRequest(model, windows), timeoutMs), windows.length);
    },
    async unload(model) {
      worker.loaded.delete(model);
      await worker.child.call({ type: 'unload-graph', model }, timeoutMs);
    },
  };
}

function runRequest(model: string, windows: readonly Int32Array[]): Run {
  const lengths = Int32Array.from(windows, (ids) => ids.length);
  const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
  let offset = 0;
  for (const own of windows) {
    ids.set(own, offset);
    offset += own.length;
  }
  return { type: 'run', model, lengths, ids };
}

function rowsOf(ran: Ran, rows: number): WindowOutput[] {
  const labels = ran.probabilities.length / rows;
  const gates = ran.gates.length / rows;
  return Array.from({ length: rows }, (_, row) => ({
    probabilities: rowOf(ran.probabilities, row, labels),
    gates: rowOf(ran.gates, row, gates),
  }));
}

/** A plain loop: one a text, and iterating over typed arrays takes several times as long. */
function rowOf(values: Float32Array, row: number, columns: number): number[] {
  const own = new Array<number>(columns);
  for (let column = 0; column < columns; column++) own[column] = values[row * columns + column] as number;
  return own;
}
