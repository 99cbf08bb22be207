/**
 * A process with nothing but onnxruntime-node and a loop: what the graph itself costs on this machine.
 *
 * Asked over IPC with a BareRequest, answers with a BareReply. Windows come tokenised and are padded before the clock
 * starts, so no tokenizer, no HTTP and no other process is in the way.
 */
import { setTimeout as delay } from 'node:timers/promises';

import { InferenceSession, Tensor } from 'onnxruntime-node';

export interface BareRequest {
  readonly graph: string;
  readonly threads: number;
  /** Each batch is a list of windows' token ids. */
  readonly batches: readonly (readonly Int32Array[])[];
  readonly padId: number;
  /** Batches are run in order, all of them, again and again until this much time has passed; 0 runs them once. */
  readonly seconds: number;
  /** Idle milliseconds before each run: a process that was woken finds its caches cold. */
  readonly pauseMs: number;
}

export interface BareReply {
  /** Milliseconds of each run. */
  readonly times: Float64Array;
}

/** Sessions are kept: a new one costs 200 ms and memory that does not come back. */
const sessions = new Map<string, Promise<InferenceSession>>();

function sessionOf({ graph, threads }: BareRequest): Promise<InferenceSession> {
  const key = `${threads} ${graph}`;
  const session =
    sessions.get(key) ??
    InferenceSession.create(graph, {
      executionProviders: ['cpu'],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    });
  sessions.set(key, session);
  return session;
}

function feedsOf(batch: readonly Int32Array[], padId: number): Record<string, Tensor> {
  const longest = Math.max(...batch.map((window) => window.length));
  const shape = [batch.length, longest];
  const ids = batch.flatMap((window) => Array.from({ length: longest }, (_, i) => BigInt(window[i] ?? padId)));
  const mask = batch.flatMap((window) => Array.from({ length: longest }, (_, i) => (i < window.length ? 1n : 0n)));
  return {
    input_ids: new Tensor('int64', BigInt64Array.from(ids), shape),
    attention_mask: new Tensor('int64', BigInt64Array.from(mask), shape),
  };
}

process.on('disconnect', () => process.exit(0));
process.on('message', async (request: BareRequest) => {
  const session = await sessionOf(request);
  const feeds = request.batches.map((batch) => feedsOf(batch, request.padId));
  const times: number[] = [];
  const begun = performance.now();
  do {
    for (const feed of feeds) {
      if (request.pauseMs > 0) await delay(request.pauseMs);
      const started = performance.now();
      await session.run(feed);
      times.push(performance.now() - started);
    }
  } while (performance.now() - begun < request.seconds * 1000);
  process.send?.({ times: Float64Array.from(times) } satisfies BareReply);
});
