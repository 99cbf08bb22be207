/** Nothing that a client sends reaches a log, a metric or a trace, chooses a file, or makes the service call an address. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { Agent, createServer, type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';

import { copyTiny, modelsFolder } from '../../fixtures/bundle-copy.ts';
import { childrenOf } from '../../reliability/process-tree.ts';
import { type Receiver, startReceiver } from '../otlp-receiver.ts';
import { type Service, startService, waitFor } from '../service.ts';
import { type Document, type MarkedRequest, markedRequests } from './marked-requests.ts';

/** As letters only, so that no encoding of addresses or JSON changes it. */
const MARK = 'qzxvmarked';
const ADMIN_KEY = `${MARK}-admin-key`;
const BODY_LIMIT = 16_384;
/** Name of a bundle that lies outside of MODELS_DIR, and what would tell that its files were read. */
const OUTSIDE = 'outside';
const SECRET = 'not-in-the-folder';

async function start(t: TestContext, env: Readonly<Record<string, string>> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'marks-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const models = await modelsFolder(t);
  await copyTiny(models, 'tiny');
  await copyTiny(folder, OUTSIDE, (manifest) => {
    manifest.name = SECRET;
  });
  const feedback = join(folder, 'feedback.jsonl');
  const collector = await startReceiver(t);
  const service = await startService(t, {
    MODELS_DIR: models,
    ADMIN_KEY,
    FEEDBACK_FILE: feedback,
    LOG_LEVEL: 'trace',
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    DRIFT_MIN_TEXTS: '1',
    ...env,
  });
  return { service, folder, feedback, collector };
}

/** The service must have been asked for all that it can say. */
async function assertUnmarked(service: Service, collector: Receiver): Promise<void> {
  const metrics = await (await fetch(`${service.url}/metrics`)).text();
  assert.equal(await service.stop(), 0);
  for (const said of [metrics, service.output(), collector.raw()]) {
    const line = said.split(/[\n{]/).find((one) => one.toLowerCase().includes(MARK));
    assert.equal(line, undefined);
  }
}

describe('what a client sends', () => {
  it('stays out of logs and metrics, chooses no file and reaches no address, whatever and wherever it is', async (t) => {
    let called = 0;
    const canary = createServer((_request, response) => {
      called += 1;
      response.end();
    }).on('connection', () => {
      called += 1;
    });
    await once(canary.listen(0, '127.0.0.1'), 'listening');
    t.after(() => canary.close());
    const { port } = canary.address() as AddressInfo;
    const { service, folder, feedback, collector } = await start(t, { BODY_LIMIT_BYTES: String(BODY_LIMIT) });
    const outside = join(folder, OUTSIDE);
    const values = [
      `You are ${MARK}, everyone.`,
      `${MARK}@1.0.0`,
      // Names that every object has.
      '__proto__',
      'constructor',
      `../${MARK}/../../..${outside}`,
      `..\\${MARK}\\${outside}`,
      `%2e%2e%2f${MARK}`,
      `${outside}\u0000${MARK}`,
      `file://${outside}/manifest.json?${MARK}`,
      `http://127.0.0.1:${port}/${MARK}`,
      outside,
    ];
    const document = (await (await fetch(`${service.url}/docs/json`)).json()) as Document;
    const agent = new Agent({ keepAlive: true, maxSockets: 4 });
    t.after(() => agent.destroy());
    const statuses = new Map<number, number>();
    const count = async (one: MarkedRequest) => {
      const { statusCode, body } = await send(service.url, one, agent);
      statuses.set(statusCode, (statuses.get(statusCode) ?? 0) + 1);
      const place = `${one.method} ${one.path.split('?')[0]} ${statusCode}`;
      assert.ok(statusCode < 500 || statusCode === 501, place);
      assert.equal(body.includes(SECRET), false, place);
    };
    let pending: Promise<void>[] = [];
    for (const one of markedRequests(document, {
      mark: MARK,
      values,
      adminKey: ADMIN_KEY,
      bodyLimitBytes: BODY_LIMIT,
    })) {
      pending.push(count(one));
      if (pending.length < 8) continue;
      await Promise.all(pending);
      pending = [];
    }
    await Promise.all(pending);
    for (const path of ['/ui/x/', '/docs/static/', `/docs/static/${MARK}/`, '/']) {
      for (const steps of ['../', '..%2f', '%2e%2e/', '..%5c', '..%00/']) {
        await count({
          method: 'GET',
          path: `${path}${steps.repeat(12)}${outside.slice(1)}/manifest.json?${MARK}`,
          headers: {},
        });
      }
    }
    const total = [...statuses.values()].reduce((sum, one) => sum + one, 0);
    t.diagnostic(`${total} requests: ${JSON.stringify(Object.fromEntries([...statuses].sort()))}`);
    for (const status of [200, 400, 401, 404, 405, 413, 415, 422]) assert.ok(statuses.has(status), String(status));
    assert.equal(called, 0);
    // Marks that are meant to be kept are kept, and only there.
    assert.ok((await readFile(feedback, 'utf8')).includes(MARK));
    await assertUnmarked(service, collector);
    const spans = collector.spans();
    t.diagnostic(`${spans.length} spans`);
    assert.ok(spans.length > total / 2);
    // With the document and the metrics.
    assert.equal(service.requests().length, total + 2);
  });

  it('stays out of them when it is not even HTTP, or breaks off', async (t) => {
    const { service, collector } = await start(t);
    const { hostname, port } = new URL(service.url);
    const head = `POST /classify?${MARK} HTTP/1.1\r\nHost: ${MARK}\r\nContent-Type: application/json\r\n`;
    const statuses: number[] = [];
    for (const sent of [
      `${MARK} / HTTP/1.1\r\n\r\n`,
      `GET /${MARK} HTTP/9.9\r\n\r\n`,
      `GET /${MARK}\u0000 HTTP/1.1\r\nHost: a\r\n\r\n`,
      `GET /${MARK}/%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
      `GET / HTTP/1.1\r\nHost: a\r\n${MARK}\r\n\r\n`,
      `GET / HTTP/1.1\r\nHost: a\r\nX: ${MARK.repeat(2_000)}\r\n\r\n`,
      `${head}Transfer-Encoding: chunked\r\n\r\n${MARK}\r\n`,
      `${head}Content-Length: ${MARK}\r\n\r\n`,
      `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n${MARK}`,
      `${head}Expect: ${MARK}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
    ]) {
      const socket = connect(Number(port), hostname);
      socket.end(sent, 'latin1');
      statuses.push(Number(/^HTTP\/1\.1 (\d{3})/.exec(await textOf(socket))?.[1]));
    }
    assert.deepEqual([...new Set(statuses)].sort(), [400, 417, 431]);
    for (const body of ['', `{"text":"${MARK}`]) {
      const socket = connect(Number(port), hostname);
      socket.write(`${head}Content-Length: 1000\r\n\r\n${body}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
      socket.destroy();
    }
    await waitFor(() => service.requests().find(({ status }) => status === 499) ?? undefined);
    await assertUnmarked(service, collector);
  });

  it('stays out of them when processes are killed with it in hand, and at shutdown', async (t) => {
    const { service, collector } = await start(t);
    const inHand = service
      .classify({ texts: Array.from({ length: 8 }, (_, more) => `${MARK} `.repeat(500 + more)) })
      .then(({ status }) => status);
    let answered: number | undefined;
    void inHand.then((status) => {
      answered = status;
    });
    // It is run again after a death, so the next process is killed too.
    while (answered === undefined) {
      for (const { pid } of childrenOf(service.process.pid as number)) process.kill(pid, 'SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok([422, 503, 504].includes(answered), String(answered));
    assert.match(service.output(), /worker process ended/);
    const atShutdown = Array.from({ length: 8 }, () => service.classify({ text: MARK }).catch(() => undefined));
    await assertUnmarked(service, collector);
    await Promise.all(atShutdown);
  });
});

async function send(url: string, one: MarkedRequest, agent: Agent): Promise<{ statusCode: number; body: string }> {
  const { hostname, port } = new URL(url);
  const { method, path, headers, body } = one;
  // Node leaves it out where a method needs no body.
  const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
  const outgoing = request({ hostname, port, method, path, headers: { ...headers, ...length }, agent });
  outgoing.end(body);
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  return { statusCode: response.statusCode as number, body: await textOf(response) };
}
