import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { loadConfig } from '../../src/config.ts';
import { toggleDebug } from '../../src/observability/log-level.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { buildTestApp } from './build-test-app.ts';
import { assertDocumented } from './documented.ts';

const KEY = 'key-of-the-administrator';
const headers = { 'x-api-key': KEY };
const { adminKey } = loadConfig({ ADMIN_KEY: KEY });

describe('the log level', () => {
  it('is told and changed while serving, for requests that come later', async () => {
    const { app, classify, log } = await buildTestApp({ adminKey });
    const ask = async (method: 'GET' | 'PUT', payload?: object) =>
      assertDocumented(
        await app.inject({ method, url: '/admin/log-level', headers, ...(payload && { payload }) }),
        method,
        '/admin/log-level',
      );
    assert.deepEqual(await ask('GET'), { level: 'debug' });
    assert.deepEqual(await ask('PUT', { level: 'error' }), { level: 'error' });
    const before = log.requests().length;
    await classify({ text: 'kind' });
    assert.equal(log.requests().length, before);
    assert.deepEqual(await ask('PUT', { level: 'info' }), { level: 'info' });
    await classify({ text: 'kind' });
    assert.equal(log.requests().at(-1)?.route, '/classify');
    assert.match(log.text(), /"logLevel":"info","msg":"log level changed"/);
  });

  it('is not changed by what is no level, or without the key', async () => {
    const { app } = await buildTestApp({ adminKey });
    const put = (payload: object, own: Record<string, string> = headers) =>
      app.inject({ method: 'PUT', url: '/admin/log-level', headers: own, payload });
    const wrong = await put({ level: 'loud' });
    assert.equal(wrong.statusCode, 400);
    assert.match(wrong.body, /`level` must be one of trace, debug/);
    for (const payload of [{}, { level: 3 }, { level: 'info', more: 1 }, []])
      assert.equal((await put(payload)).statusCode, 400);
    assert.equal((await put({ level: 'info' }, {})).statusCode, 401);
    const current = await app.inject({ url: '/admin/log-level', headers });
    assert.deepEqual(current.json(), { level: 'debug' });
  });

  it('goes to debug and back by a signal', () => {
    const lines: string[] = [];
    const logger = createLogger('info', { write: (line) => void lines.push(line) });
    toggleDebug(logger, 'info');
    assert.equal(logger.level, 'debug');
    toggleDebug(logger, 'info');
    assert.equal(logger.level, 'info');
    assert.equal(lines.length, 2);
  });
});
