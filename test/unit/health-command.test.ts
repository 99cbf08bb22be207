/** `src/cli/health.ts`, which containers are asked for their health with. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { freePort } from '../free-port.ts';

const COMMAND = fileURLToPath(new URL('../../src/cli/health.ts', import.meta.url));

async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return String((server.address() as AddressInfo).port);
}

async function ask(env: Record<string, string>, ...args: string[]): Promise<{ code: number | null; said: string }> {
  const child: ChildProcess = spawn(process.execPath, [COMMAND, ...args], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const [[code], said] = await Promise.all([once(child, 'exit'), text(child.stderr as NodeJS.ReadableStream)]);
  return { code, said };
}

test('asks what it is told to, live when it is told nothing', async (t) => {
  const asked: (string | undefined)[] = [];
  const port = await serve(t, ({ url }, response) => {
    asked.push(url);
    response.end('{}');
  });
  for (const args of [[], ['live'], ['ready']])
    assert.deepEqual(await ask({ PORT: port }, ...args), { code: 0, said: '' });
  assert.deepEqual(asked, ['/health/live', '/health/live', '/health/ready']);
});

test('anything but 200 is not well', async (t) => {
  const port = await serve(t, (_, response) => response.writeHead(503).end());
  const { code, said } = await ask({ PORT: port, HOST: '0.0.0.0' }, 'ready');
  assert.equal(code, 1);
  assert.match(said, /\/health\/ready answers 503/);
});

test('no answer is not well, and is not waited for', async (t) => {
  const port = await serve(t, () => {});
  const { code, said } = await ask({ PORT: port, HOST: '127.0.0.1' });
  assert.equal(code, 1);
  assert.match(said, /does not answer within 2000 ms/);
});

test('nobody there, or a question that is none', async () => {
  const nobody = await ask({ PORT: String(await freePort()) });
  assert.equal(nobody.code, 1);
  assert.match(nobody.said, /cannot be asked/);
  const wrong = await ask({}, 'happy');
  assert.equal(wrong.code, 1);
  assert.match(wrong.said, /live or ready/);
});
