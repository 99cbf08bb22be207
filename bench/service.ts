/** The real service as a process of its own, and a client that keeps its connections. */
import { spawn } from 'node:child_process';
import { Agent, request } from 'node:http';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

export interface Service {
  readonly pid: number;
  /** Milliseconds from the start of the process until it was ready. */
  readonly startMs: number;
  /** Posts texts; resolves when the answer has been read. @throws Error on any status but 200 */
  classify(model: string, texts: readonly string[]): Promise<void>;
  stop(): Promise<void>;
}

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const START_TIMEOUT_MS = 60_000;

export async function startService(modelsDir: string): Promise<Service> {
  const port = await freePort();
  const started = performance.now();
  const env = { ...process.env, MODELS_DIR: modelsDir, HOST: '127.0.0.1', PORT: `${port}`, LOG_LEVEL: 'warn' };
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const agent = new Agent({ keepAlive: true });

  function send(method: string, path: string, body?: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const headers =
        body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const outgoing = request({ agent, host: '127.0.0.1', port, method, path, headers }, (response) => {
        response.resume();
        response.once('end', () => resolve(response.statusCode ?? 0));
      });
      outgoing.once('error', reject);
      outgoing.end(body);
    });
  }

  while ((await send('GET', '/health/ready').catch(() => 0)) !== 200) {
    if (child.exitCode !== null || performance.now() - started > START_TIMEOUT_MS)
      throw new Error('The service did not start: run it by itself with the same MODELS_DIR to see why');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }

  return {
    pid: child.pid as number,
    startMs: performance.now() - started,
    async classify(model, texts) {
      const status = await send('POST', '/classify', JSON.stringify({ model, texts }));
      if (status !== 200) throw new Error(`POST /classify answered ${status}`);
    },
    async stop() {
      agent.destroy();
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
