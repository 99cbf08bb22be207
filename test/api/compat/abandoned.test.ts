import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';

import { buildTestApp } from '../build-test-app.ts';

const TENSOR = { name: 'text', shape: [1], datatype: 'BYTES', data: ['a'] };

const REQUESTS: readonly [path: string, body: object][] = [
  ['/predict', { inputs: 'a' }],
  ['/models/gated', { inputs: 'a' }],
  ['/classify', { input: 'a' }],
  ['/v2/models/gated/infer', { inputs: [TENSOR] }],
];

describe('a client of a foreign protocol that goes away', () => {
  for (const [path, body] of REQUESTS) {
    it(`frees what waits for it: ${path}`, async (t) => {
      const { app, engine, log } = await buildTestApp();
      t.after(() => app.close());
      engine.hold = true;
      await app.listen({ host: '127.0.0.1', port: 0 });
      const { port } = app.server.address() as AddressInfo;
      const gone = new AbortController();
      const answer = fetch(`http://127.0.0.1:${port}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: gone.signal,
      });
      while (engine.seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      gone.abort();
      await assert.rejects(answer);
      await engine.aborted;
      while (log.requests().length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      const [line] = log.requests();
      assert.deepEqual([line?.status, line?.level, line?.texts], [499, 'info', 1]);
      assert.doesNotMatch(log.text(), /unexpected error/);
    });
  }
});
