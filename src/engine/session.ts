/** Token ids -> probabilities and gates. The only file that imports onnxruntime. */
import { env, InferenceSession, Tensor } from 'onnxruntime-node';

import type { ExecutionProvider, Ran, Run } from './protocol.ts';
import { Refusal } from './refusal.ts';

// What the library logs of a failed run can quote the input (a token id), and a failed load is reported by its error.
env.logLevel = 'fatal';

export interface Session {
  /**
   * Runs one batch, padded on the right to its longest window. Blocks the process for as long as it takes.
   *
   * @throws Refusal when the graph fails on this input
   */
  run(batch: Run): Promise<Ran>;
  release(): Promise<void>;
}

export interface SessionOptions {
  readonly graph: string;
  readonly executionProvider: ExecutionProvider;
  /** Threads within one operator. */
  readonly threads: number;
  readonly cudaDevice: number;
  readonly padId: number;
  /** Columns that the outputs must have. */
  readonly labels: number;
  readonly gates: number;
}

/** @throws Refusal when the graph cannot be loaded on this provider, or is not shaped as docs/bundle.md says */
export async function createSession(options: SessionOptions): Promise<Session> {
  const { labels, gates, padId } = options;
  const session = await InferenceSession.create(options.graph, sessionOptions(options)).catch((error: unknown) => {
    throw new Refusal(`onnxruntime cannot load the graph on ${options.executionProvider}: ${firstLine(error)}`);
  });
  expectNames('inputs', session.inputNames, ['input_ids', 'attention_mask']);
  expectNames('outputs', session.outputNames, ['probabilities', 'gates']);

  return {
    release: () => session.release(),
    async run({ lengths, ids }) {
      const rows = lengths.length;
      const longest = lengths.reduce((a, b) => Math.max(a, b), 0);
      const feeds = pad(lengths, ids, longest, padId);
      const started = performance.now();
      const outputs = await session.run(feeds).catch(() => {
        // The library's message is left out: it may describe the input.
        throw new Refusal('onnxruntime failed to run the graph');
      });
      const seconds = (performance.now() - started) / 1000;
      return {
        probabilities: floats(outputs.probabilities, 'probabilities', rows, labels),
        gates: floats(outputs.gates, 'gates', rows, gates),
        seconds,
      };
    },
  };
}

/**
 * What onnxruntime fuses on its own beyond folding constants makes no graph of ours faster on the CPU, and int8 ones load in
 * half the time without: bundles come fused, or their exporter saw no gain. Its kernels for CUDA want those fusions.
 */
const OPTIMIZATION = { cpu: 'basic', cuda: 'all' } as const satisfies Record<ExecutionProvider, string>;

function sessionOptions({ executionProvider, threads, cudaDevice }: SessionOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: [executionProvider === 'cuda' ? { name: 'cuda', deviceId: cudaDevice } : executionProvider],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: OPTIMIZATION[executionProvider],
    // Every batch has another shape: a plan of memory for each would be kept and hardly used again.
    enableMemPattern: false,
    // Threads that spin for work take the processor from the neighbouring process.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  };
}

/** int32 windows -> int64 `[rows, longest]` ids and mask. */
function pad(lengths: Int32Array, ids: Int32Array, longest: number, padId: number): Record<string, Tensor> {
  const rows = lengths.length;
  const inputIds = new BigInt64Array(rows * longest);
  const mask = new BigInt64Array(rows * longest);
  // Ids are below 2^31, so on a little-endian machine the low half of each int64 is all there is to write. It is
  // many times faster than making a BigInt of each.
  const idHalves = new Int32Array(inputIds.buffer);
  const maskHalves = new Int32Array(mask.buffer);
  let read = 0;
  for (let row = 0; row < rows; row++) {
    const length = lengths[row] as number;
    const start = row * longest * 2;
    for (let column = 0; column < length; column++) {
      idHalves[start + column * 2] = ids[read++] as number;
      maskHalves[start + column * 2] = 1;
    }
    for (let column = length; column < longest; column++) idHalves[start + column * 2] = padId;
  }
  const shape = [rows, longest];
  return { input_ids: new Tensor('int64', inputIds, shape), attention_mask: new Tensor('int64', mask, shape) };
}

function floats(tensor: Tensor | undefined, name: string, rows: number, columns: number): Float32Array {
  const [r, c] = tensor?.dims ?? [];
  if (tensor?.type !== 'float32' || tensor.dims.length !== 2 || r !== rows || c !== columns)
    throw new Refusal(`the graph's output ${name} is not float32 [${rows}, ${columns}] for ${rows} windows`);
  return tensor.data as Float32Array;
}

function expectNames(kind: string, names: readonly string[], expected: readonly string[]): void {
  if (names.length !== expected.length || expected.some((name) => !names.includes(name)))
    throw new Refusal(`the graph has ${kind} ${names.join(', ')}, expected ${expected.join(', ')}`);
}

/** Called while no text is near: the message is about the graph or the library. */
function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return (message.split('\n')[0] ?? '').slice(0, 300);
}
