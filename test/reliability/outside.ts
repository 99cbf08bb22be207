/** What is broken outside: clients, scrapers and log collectors. Each returns what it did, in words with numbers. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import type { Scenario, Scene } from './scene.ts';

const SLOW_CONNECTIONS = 1_000;
const SLOW_BYTE_MS = 500;
const HALF_CLOSED = 500;
const SCRAPERS = 50;

/** Each is sent on a connection of its own. None is a request that a client may make. */
const MALFORMED: Readonly<Record<string, string | Buffer>> = {
  'no HTTP': 'these are only words\r\n\r\n',
  'random bytes': Buffer.from(Array.from({ length: 512 }, (_, i) => (i * 151 + 7) % 256)),
  'TLS to a plain port': Buffer.from('16030100a5010000a10303', 'hex'),
  'two lengths': post('content-length: 2\r\ncontent-length: 3', '{}x'),
  'length and chunks': post('content-length: 2\r\ntransfer-encoding: chunked', '0\r\n\r\n'),
  'a negative length': post('content-length: -1', '{}'),
  'a chunk that is no number': post('transfer-encoding: chunked', 'zz\r\n{}\r\n0\r\n\r\n'),
  'a header without a name': post(': value\r\ncontent-length: 2', '{}'),
  'a header with a null byte': post('x-a: a\0b\r\ncontent-length: 2', '{}'),
  'headers without an end': `GET /metrics HTTP/1.1\r\n${'x-a: b\r\n'.repeat(5_000)}`,
  'an endless first line': `GET /${'a'.repeat(100_000)}`,
  'a length that never comes': post('content-length: 100000', '{"text":'),
  'a version from the future': 'GET / HTTP/9.9\r\nhost: a\r\n\r\n',
  'nothing at all': '',
};

function post(headers: string, body: string): string {
  return `POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n${headers}\r\n\r\n${body}`;
}

export const OUTSIDE: Readonly<Record<string, Scenario>> = {
  '1,000 slow connections': {
    connections: 4,
    async run(scene) {
      const sockets = await open(scene, SLOW_CONNECTIONS);
      const head = `POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n`;
      const text = `${head}{"text":"`;
      const end = performance.now() + scene.seconds * 1000;
      let sent = 0;
      while (performance.now() < end) {
        for (const socket of sockets) if (socket.writable) socket.write(text[sent] ?? 'a');
        sent++;
        await delay(SLOW_BYTE_MS);
      }
      const cut = sockets.filter(({ destroyed }) => destroyed).length;
      for (const socket of sockets) socket.destroy();
      return `${sockets.length} connections sent one byte each ${SLOW_BYTE_MS} ms, ${sent} bytes; ${cut} were ended by the service`;
    },
  },

  'half-closed sockets': {
    connections: 4,
    async run(scene) {
      const sockets = await open(scene, HALF_CLOSED);
      const body = JSON.stringify({ text: 'Have a lovely day' });
      let answered = 0;
      for (const [i, socket] of sockets.entries()) {
        socket.once('data', () => answered++);
        // A whole request, a half one, or nothing, and then the end of what is sent.
        const whole = post(`content-length: ${body.length}`, body);
        socket.end(i % 3 === 0 ? whole : i % 3 === 1 ? whole.slice(0, -10) : '');
      }
      await delay(scene.seconds * 1000);
      const left = sockets.filter(({ destroyed }) => !destroyed).length;
      for (const socket of sockets) socket.destroy();
      return `${sockets.length} connections closed on the sending side; ${answered} were answered, ${left} were still open after ${scene.seconds} s`;
    },
  },

  'malformed HTTP': {
    connections: 4,
    async run(scene) {
      const end = performance.now() + scene.seconds * 1000;
      const answers: Record<string, number> = {};
      let sent = 0;
      while (performance.now() < end) {
        const kinds = Object.entries(MALFORMED);
        const sockets = await open(scene, kinds.length);
        await Promise.all(
          kinds.map(async ([, bytes], i) => {
            const socket = sockets[i] as Socket;
            let said = '';
            socket.setEncoding('latin1').on('data', (part: string) => {
              said += part;
            });
            socket.write(bytes);
            sent++;
            await Promise.race([once(socket, 'close'), delay(300)]);
            socket.destroy();
            const status = /^HTTP\/1\.1 (\d+)/.exec(said)?.[1] ?? 'none';
            answers[status] = (answers[status] ?? 0) + 1;
            if (status.startsWith('5') || status === '200') throw new Error(`malformed HTTP got ${status}`);
          }),
        );
      }
      const counts = Object.entries(answers).map(([status, count]) => `${status}: ${count}`);
      return `${sent} malformed requests of ${Object.keys(MALFORMED).length} kinds, answered with ${counts.join(', ')}`;
    },
  },

  'Prometheus gone': {
    connections: 4,
    async run(scene) {
      const sockets = await open(scene, SCRAPERS);
      // They ask and never read: what is said to them must not pile up.
      const scrape = 'GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n';
      for (const socket of sockets) socket.pause();
      const end = performance.now() + scene.seconds * 1000;
      let asked = 0;
      while (performance.now() < end) {
        for (const socket of sockets) if (socket.writable && socket.writableLength === 0) socket.write(scrape);
        asked += sockets.length;
        await delay(250);
      }
      for (const socket of sockets) socket.destroy();
      return `${sockets.length} scrapers asked ${asked} times, read nothing and vanished`;
    },
  },

  'full disk for logs': {
    ...printing('> /dev/full'),
    async run({ seconds }) {
      await delay(seconds * 1000);
      return 'every line of the log met a full disk';
    },
  },

  'log collector gone': {
    ...printing('> >(exit 0)'),
    async run({ seconds }) {
      await delay(seconds * 1000);
      return 'nobody read the log; every line met a closed pipe';
    },
  },
};

/** The service says nothing that can be read, so its address is chosen and said for it. */
function printing(redirection: string): Pick<Scenario, 'env' | 'command'> {
  const address = 'echo "Try it:"; echo "curl http://127.0.0.1:$PORT/classify -d {}"';
  return {
    env: () => ({ PORT: String(20_000 + Math.floor(Math.random() * 10_000)), LOG_LEVEL: 'info' }),
    command: ['bash', '-c', `${address}; exec "$0" src/main.ts ${redirection}`, process.execPath],
  };
}

async function open({ service, context }: Scene, count: number): Promise<Socket[]> {
  const { hostname, port } = new URL(service.url);
  const sockets = Array.from({ length: count }, () =>
    connect({ host: hostname, port: Number(port), allowHalfOpen: true }),
  );
  context.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (const socket of sockets) socket.on('error', () => {});
  await Promise.all(sockets.map((socket) => Promise.race([once(socket, 'connect'), once(socket, 'close')])));
  return sockets;
}
