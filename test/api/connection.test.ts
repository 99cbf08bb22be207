import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';

import { buildTestApp } from './build-test-app.ts';

async function listen(t: TestContext) {
  const built = await buildTestApp();
  await built.app.listen({ host: '127.0.0.1', port: 0 });
  t.after(() => built.app.close());
  const { port } = built.app.server.address() as AddressInfo;
  return { ...built, port };
}

/** Sends bytes and reads until the service closes the connection. */
async function exchange(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  socket.write(bytes);
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return answer;
}

/** Whether it ends in order or is reset. */
function closed(socket: Socket): Promise<unknown> {
  socket.on('error', () => {});
  return new Promise((resolve) => socket.once('close', resolve));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('connections', () => {
  it('give what is not HTTP an id, and a line in the log with it and nothing else', async (t) => {
    const { log, metrics, port } = await listen(t);
    const answer = await exchange(port, 'marked / HTTP/1.1\r\nmarked\r\n\r\n');
    const [, id] = /\r\nX-Request-Id: ([\da-f-]{36})\r\n/.exec(answer) ?? [];
    assert.equal((JSON.parse(answer.slice(answer.indexOf('{'))) as { requestId: string }).requestId, id);
    const [line] = log.requests();
    assert.deepEqual([line?.requestId, line?.route, line?.status, line?.code], [id, 'unmatched', 400, 'bad_request']);
    assert.equal(log.text().includes('marked'), false);
    assert.match(await metrics.expose(), /duration_seconds_count\{route="unmatched",status="400"\} 1\n/);
  });

  it('tells the engine when a client has gone, and counts it apart', async (t) => {
    const { engine, log, port } = await listen(t);
    engine.hold = true;
    const body = '{"text":"a"}';
    const socket = connect(port, '127.0.0.1');
    socket.write(
      `POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await until(() => engine.seen.length === 1);
    socket.destroy();
    await engine.aborted;
    await until(() => log.requests().length === 1);
    assert.deepEqual([log.requests()[0]?.status, log.requests()[0]?.level], [499, 'info']);
  });

  it('does not abort what is answered', async (t) => {
    const { engine, port } = await listen(t);
    let aborted = false;
    void engine.aborted.then(() => {
      aborted = true;
    });
    const answer = await fetch(`http://127.0.0.1:${port}/classify`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify({ text: 'a' }),
    });
    await answer.json();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual([answer.status, aborted], [200, false]);
  });

  it('answers what is no HTTP with a problem document', async (t) => {
    const { port } = await listen(t);
    const answer = await exchange(port, 'NONSENSE\r\n\r\n');
    assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\nContent-Type: application\/problem\+json\r\n/);
    assert.equal(JSON.parse(answer.split('\r\n\r\n')[1] as string).code, 'bad_request');
  });

  it('answers headers that are too large', async (t) => {
    const { port } = await listen(t);
    const answer = await exchange(port, `GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 431 /);
    assert.match(answer, /"code":"headers_too_large"/);
  });

  it('answers what is in hand when the application closes', async (t) => {
    const { app, engine, lifecycle, port } = await listen(t);
    const release = Promise.withResolvers<void>();
    const { classify } = engine;
    engine.classify = async (...request) => {
      await release.promise;
      return classify(...request);
    };
    const pending = fetch(`http://127.0.0.1:${port}/classify`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ text: 'a' }),
    });
    await once(app.server, 'request');
    lifecycle.drain();
    const closed = app.close();
    release.resolve();
    const answer = await pending;
    assert.deepEqual([answer.status, answer.headers.get('connection')], [200, 'close']);
    await closed;
  });

  it('does not wait for connections that are silent', async (t) => {
    const { app, port } = await listen(t);
    const silent = connect(port, '127.0.0.1');
    const halfway = connect(port, '127.0.0.1');
    halfway.write('POST /classify HTTP/1.1\r\nHost: x\r\nContent-Le');
    await Promise.all([once(silent, 'connect'), once(halfway, 'connect')]);
    const ended = Promise.all([silent, halfway].map(closed));
    await app.close();
    await ended;
  });
});
