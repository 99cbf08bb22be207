/**
 * Clients that keep asking and check every answer: what was sent, what came back, and whether it belongs to the question.
 *
 * Each text's scores are asked for once before the fault. A graph that is batch-invariant must give the same numbers
 * ever after, so an answer that went to the wrong client shows.
 */
import { Agent, type ClientRequest, request } from 'node:http';

export interface Tally {
  sent: number;
  /** Complete answers by status. */
  readonly answered: Record<number, number>;
  /** No complete answer came. */
  lost: number;
  /** A 200 with numbers of another text. */
  wrong: number;
  /** Codes of problem documents. */
  readonly codes: Record<string, number>;
  /** Milliseconds of the slowest answer. */
  slowestMs: number;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export interface Client {
  /** @throws Error when no complete answer came */
  post(path: string, body: string): Promise<Answer>;
  get(path: string): Promise<Answer>;
  /** The request itself, for clients that do not behave. */
  begin(path: string, body: string): ClientRequest;
  close(): void;
}

export function createClient(url: string): Client {
  const agent = new Agent({ keepAlive: true });
  const { hostname, port } = new URL(url);

  const open = (method: string, path: string, body?: string) => {
    const headers =
      body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    return request({ agent, host: hostname, port, method, path, headers });
  };

  function ask(method: string, path: string, body?: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = open(method, path, body);
      outgoing.once('error', reject);
      outgoing.once('response', (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () => {
          if (response.complete) resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
          else reject(new Error('the answer broke off'));
        });
      });
      outgoing.end(body);
    });
  }

  return {
    post: (path, body) => ask('POST', path, body),
    get: (path) => ask('GET', path),
    begin(path, body) {
      const outgoing = open('POST', path, body);
      outgoing.on('error', () => {});
      outgoing.end(body);
      return outgoing;
    },
    close: () => agent.destroy(),
  };
}

export interface Load {
  readonly tally: Tally;
  /** Lets every request in hand end. */
  stop(): Promise<Tally>;
}

/** What is known of each text before anything is broken. */
export type Reference = ReadonlyMap<string, number>;

export async function referenceOf(client: Client, model: string, texts: readonly string[]): Promise<Reference> {
  const reference = new Map<string, number>();
  for (const text of texts) {
    const { status, body } = await client.post('/classify', JSON.stringify({ text, model, gates: 'none' }));
    if (status !== 200) throw new Error(`a text got ${status} before anything was broken`);
    reference.set(text, offensiveOf(body, 0));
  }
  return reference;
}

/** @param textsOfARequest texts that go in one request */
export function startLoad(
  client: Client,
  options: { model: string; reference: Reference; connections: number; textsOfARequest: number },
): Load {
  const { model, reference, connections, textsOfARequest } = options;
  const texts = [...reference.keys()];
  const tally: Tally = { sent: 0, answered: {}, lost: 0, wrong: 0, codes: {}, slowestMs: 0 };
  let next = 0;
  let stopping = false;

  async function connection(): Promise<void> {
    while (!stopping) {
      const own = Array.from({ length: textsOfARequest }, (_, k) => texts[(next + k) % texts.length] as string);
      next += textsOfARequest;
      const began = performance.now();
      tally.sent++;
      try {
        const answer = await client.post('/classify', JSON.stringify({ texts: own, model, gates: 'none' }));
        record(answer, own);
      } catch {
        tally.lost++;
      }
      tally.slowestMs = Math.max(tally.slowestMs, performance.now() - began);
    }
  }

  function record({ status, body }: Answer, own: readonly string[]): void {
    tally.answered[status] = (tally.answered[status] ?? 0) + 1;
    if (status === 200) {
      if (own.some((text, i) => offensiveOf(body, i) !== reference.get(text))) tally.wrong++;
    } else {
      const { code = 'none' } = JSON.parse(body) as { code?: string };
      tally.codes[code] = (tally.codes[code] ?? 0) + 1;
    }
  }

  const running = Promise.all(Array.from({ length: connections }, connection));
  return {
    tally,
    async stop() {
      stopping = true;
      await running;
      return tally;
    },
  };
}

function offensiveOf(body: string, index: number): number {
  const { results } = JSON.parse(body) as { results: { offensive: number }[] };
  return results[index]?.offensive ?? Number.NaN;
}
