/** Clients that are slow, silent or broken, on real sockets: each is bounded, and others are served all the while. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';

import type { Config } from '../../src/config.ts';
import { buildTestApp } from './build-test-app.ts';

const FAST = { headersTimeoutMs: 1_000, requestTimeoutMs: 2_000 };
const HEAD = 'POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n';

async function listen(t: TestContext, settings: Partial<Config> = FAST) {
  const built = await buildTestApp(settings);
  await built.app.listen({ host: '127.0.0.1', port: 0 });
  t.after(() => built.app.close());
  const { port } = built.app.server.address() as AddressInfo;
  return { ...built, port, serves: async () => (await fetch(`http://127.0.0.1:${port}/models`)).status === 200 };
}

function open(port: number): Socket {
  return connect(port, '127.0.0.1')
    .setEncoding('utf8')
    .on('error', () => {});
}

/** What it was sent until it was closed. */
async function answerOf(socket: Socket): Promise<string> {
  let answer = '';
  socket.on('data', (chunk: string) => {
    answer += chunk;
  });
  await new Promise((resolve) => socket.once('close', resolve));
  return answer;
}

/** Sends a part every so often until it cannot. */
function drip(socket: Socket, part: string): void {
  const timer = setInterval(() => socket.write(part), 50);
  socket.once('close', () => clearInterval(timer));
}

describe('slow clients', () => {
  it('that send nothing, headers or a body without end are closed, and told where they can be', {
    timeout: 30_000,
  }, async (t) => {
    const { port, serves } = await listen(t);
    const silent = open(port);
    const headers = open(port);
    headers.write('GET /models HTTP/1.1\r\n');
    drip(headers, 'X: y\r\n');
    const body = open(port);
    body.write(`${HEAD}Content-Length: 100000\r\n\r\n`);
    drip(body, ' ');
    const answers = Promise.all([silent, headers, body].map(answerOf));
    assert.ok(await serves());
    const begun = performance.now();
    const [ofSilent, ofHeaders, ofBody] = await answers;
    assert.ok(performance.now() - begun < 10_000);
    assert.match(ofSilent as string, /^(HTTP\/1\.1 408 |$)/);
    assert.match(ofHeaders as string, /^HTTP\/1\.1 408 [\s\S]*"code":"request_timeout"/);
    assert.match(ofBody as string, /^HTTP\/1\.1 408 /);
  });

  it('that do not take their answer are closed', { timeout: 30_000 }, async (t) => {
    const { app, port, serves } = await listen(t);
    const closed = new Promise<void>((resolve) =>
      app.server.once('connection', (socket) => socket.once('close', resolve)),
    );
    const socket = open(port);
    socket.pause();
    // More answers than the system keeps for a connection.
    const ask = 'GET /docs/json HTTP/1.1\r\nHost: a\r\n\r\n';
    for (let i = 0; i < 400; i++) socket.write(ask);
    await closed;
    socket.destroy();
    assert.ok(await serves());
  });

  it('a thousand at once are bounded: they are closed in time, and others are served meanwhile', {
    timeout: 60_000,
  }, async (t) => {
    const { app, port, serves } = await listen(t);
    const sockets = Array.from({ length: 1_000 }, () => open(port));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    for (const [i, socket] of sockets.entries())
      socket.write(i % 2 === 0 ? 'GET / HT' : `${HEAD}Content-Length: 9\r\n\r\n{`);
    const closed = Promise.all(sockets.map(answerOf));
    assert.ok(await serves());
    await closed;
    assert.ok(await serves());
    const open_ = await new Promise<number>((resolve) => app.server.getConnections((_error, count) => resolve(count)));
    assert.ok(open_ < 10, String(open_));
  });

  it('more than the limit are not let in, and there is room again afterwards', { timeout: 30_000 }, async (t) => {
    const { port, serves } = await listen(t, { ...FAST, maxConnections: 3 });
    const first = Array.from({ length: 3 }, () => open(port));
    await Promise.all(first.map((socket) => once(socket, 'connect')));
    assert.equal(await answerOf(open(port)), '');
    for (const socket of first) socket.destroy();
    for (let tries = 0; ; tries++) {
      if (await serves().catch(() => false)) break;
      assert.ok(tries < 100);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  it('that half close are answered, and let go', { timeout: 30_000 }, async (t) => {
    const { port } = await listen(t);
    const whole = open(port);
    whole.end('GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.match(await answerOf(whole), /^HTTP\/1\.1 200 /);
    const part = open(port);
    part.end(`${HEAD}Content-Length: 100\r\n\r\n{"te`);
    await answerOf(part);
  });

  it('that do not speak HTTP are told so, whatever they send', { timeout: 30_000 }, async (t) => {
    const { port, serves } = await listen(t, { ...FAST, maxHeaderBytes: 2_048 });
    for (const [sent, status] of [
      ['\u0016\u0003\u0001\u0002\u0000\u0001\u0000', 400],
      ['GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n', 400],
      [`${HEAD}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
      [`${HEAD}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`, 400],
      [`${HEAD}Transfer-Encoding: chunked\r\n\r\nZZ\r\n`, 400],
      ['GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n', 400],
      ['GET / HTTP/1.1\r\n\r\n', 400],
      [`GET /${'a'.repeat(4_096)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
      [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(4_096)}\r\n\r\n`, 431],
    ] as const) {
      const socket = open(port);
      socket.write(sent, 'latin1');
      assert.match(await answerOf(socket), new RegExp(`^HTTP/1\\.1 ${status} `), JSON.stringify(sent.slice(0, 60)));
    }
    assert.ok(await serves());
  });
});
