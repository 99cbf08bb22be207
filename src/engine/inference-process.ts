/** One inference process, over its replacements too: which graphs it has loaded, and what it is asked to run. */
import type { GraphChoice, LoadGraph, Ran, Run } from './protocol.ts';
import { ChildError, type ChildWatch, superviseChild } from './supervisor.ts';

/** What one window's run gave. */
export interface WindowOutput {
  readonly probabilities: readonly number[];
  readonly gates: readonly number[];
}

/** One process while a bundle is tried out on it. */
export interface TrialWorker {
  /** @throws ChildError when no choice can be loaded, or the process died over it */
  load(spec: LoadGraph): Promise<GraphChoice>;
  /**
   * Runs batches of windows one after the other. The process has them all at once, and waits for nobody in between.
   *
   * @returns each batch's outputs, a window's each
   * @throws ChildError
   */
  runInTurn(model: string, batches: readonly (readonly Int32Array[])[]): Promise<WindowOutput[][]>;
  unload(model: string): Promise<void>;
}

export interface InferenceProcess extends TrialWorker {
  readonly loaded: ReadonlySet<string>;
  /** It runs, and all that it was to load is loaded, or could not be. */
  readonly prepared: boolean;
  /** It has failed so often that nothing should wait for it. */
  readonly givenUp: boolean;
  /** Resolves when it is prepared, or given up. */
  whenPrepared(): Promise<void>;
  /**
   * Loads the graph, unless it has it already, and runs some shapes: the first runs of a session are slow.
   *
   * @throws ChildError
   */
  warm(spec: LoadGraph): Promise<void>;
  /** Unloads every other graph. @throws ChildError */
  keepOnly(models: readonly string[]): Promise<void>;
  /** @throws ChildError */
  send(model: string, windows: readonly Int32Array[]): Promise<Ran>;
  close(): Promise<void>;
}

/** As in the tokenizer's lane: failed starts in a row after which what waits is given up. */
const GIVE_UP_AFTER = 5;

/** Milliseconds that one graph may be warmed up on one process; the run that exceeds them is the last. */
const WARM_UP_MS = 500;
/** A short text, a longer one, and some together. */
const WARM_UP_SHAPES = [
  { rows: 1, longest: 8 },
  { rows: 1, longest: 64 },
  { rows: 4, longest: 16 },
] as const;

export function createInferenceProcess(options: {
  readonly timeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly watch: ChildWatch;
  /** What it loads whenever it starts. */
  readonly specs: () => readonly LoadGraph[];
  /** One of `specs` was refused by the process, which is well. */
  readonly unloadable: (spec: LoadGraph, reason: string) => void;
  readonly prepared: () => void;
  /** It died; it is replaced unless it is closed. */
  readonly exited: () => void;
}): InferenceProcess {
  const { timeoutMs, loadTimeoutMs } = options;
  const loaded = new Set<string>();
  const awaiting: (() => void)[] = [];
  let prepared = false;
  let closed = false;

  const child = superviseChild('inference', {
    started: () => void prepare(),
    watch: options.watch,
    exited() {
      loaded.clear();
      prepared = false;
      if (closed || givenUp()) release();
      options.exited();
    },
  });
  const givenUp = () => child.failures >= GIVE_UP_AFTER;

  function release(): void {
    for (const proceed of awaiting.splice(0)) proceed();
  }

  async function prepare(): Promise<void> {
    for (const spec of options.specs())
      await load(spec).catch((error: unknown) => {
        if (error instanceof ChildError && error.kind === 'refused') options.unloadable(spec, error.message);
      });
    prepared = child.running;
    if (prepared) release();
    options.prepared();
  }

  async function load(spec: LoadGraph): Promise<GraphChoice> {
    const { choice } = await child.call(spec, loadTimeoutMs);
    loaded.add(spec.model);
    return spec.choices[choice] as GraphChoice;
  }

  async function unload(model: string): Promise<void> {
    loaded.delete(model);
    await child.call({ type: 'unload-graph', model }, timeoutMs);
  }

  async function warmUp({ model, padId, maxTokens }: LoadGraph): Promise<void> {
    const until = performance.now() + WARM_UP_MS;
    for (const { rows, longest } of WARM_UP_SHAPES) {
      if (performance.now() > until) return;
      const tokens = Math.min(longest, maxTokens);
      const ids = new Int32Array(tokens).fill(padId);
      await child.call(runRequest(model, new Array(rows).fill(ids)), loadTimeoutMs).catch((error: ChildError) => {
        // Padding alone is no text that the graph must be able to read.
        if (error.kind !== 'refused') throw error;
      });
    }
  }

  const send: InferenceProcess['send'] = (model, windows) => child.call(runRequest(model, windows), timeoutMs);

  return {
    loaded,
    get prepared() {
      return prepared;
    },
    get givenUp() {
      return givenUp();
    },
    async whenPrepared() {
      if (!prepared) await new Promise<void>((resolve) => awaiting.push(resolve));
    },
    load,
    unload,
    async warm(spec) {
      if (!loaded.has(spec.model)) await load(spec);
      await warmUp(spec);
    },
    async keepOnly(models) {
      for (const model of loaded) if (!models.includes(model)) await unload(model);
    },
    send,
    runInTurn: (model, batches) =>
      Promise.all(batches.map(async (windows) => rowsOf(await send(model, windows), windows.length))),
    close() {
      closed = true;
      return child.close();
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

export function rowsOf(ran: Ran, rows: number): WindowOutput[] {
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
