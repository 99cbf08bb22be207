import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { buildOpsApp } from '../../../src/app.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import { buildTestApp } from '../build-test-app.ts';

describe('a port of its own for operation', () => {
  it('has metrics and administration, which the public port then has not; health is on both', async () => {
    const settings = { opsPort: 9_090, adminKey: 'key' };
    const { app, engine, lifecycle, metrics } = await buildTestApp(settings);
    const { loadConfig } = await import('../../../src/config.ts');
    const ops = await buildOpsApp({
      engine,
      lifecycle,
      metrics,
      logger: createLogger('silent', { write() {} }),
      config: { ...loadConfig({}), ...settings },
      version: '0.0.0',
    });
    const headers = { 'x-api-key': 'key' };
    for (const [method, url, there, here] of [
      ['GET', '/metrics', 404, 200],
      ['GET', '/admin/bundles', 404, 200],
      ['POST', '/admin/reload', 404, 200],
      ['POST', '/v2/repository/models/plain/load', 404, 200],
      ['GET', '/health/live', 200, 200],
      ['GET', '/health/ready', 200, 200],
      ['GET', '/models', 200, 404],
      ['GET', '/docs', 200, 404],
      ['GET', '/', 200, 404],
    ] as const) {
      assert.equal((await app.inject({ method, url, headers })).statusCode, there, `public ${url}`);
      assert.equal((await ops.inject({ method, url, headers })).statusCode, here, `operation ${url}`);
    }
    assert.equal((await ops.inject('/admin/bundles')).statusCode, 401);
    const { extensions } = JSON.parse((await app.inject('/v2')).body) as { extensions: string[] };
    assert.equal(extensions.includes('model_repository'), false);
  });
});

describe('pages of other sites', () => {
  const preflight = (origin: string) => ({
    method: 'OPTIONS' as const,
    url: '/classify',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' },
  });

  it('may not call the service unless that is configured', async () => {
    const { app } = await buildTestApp();
    const answer = await app.inject({ url: '/models', headers: { origin: 'https://forum.example.org' } });
    assert.equal(answer.headers['access-control-allow-origin'], undefined);
    assert.equal((await app.inject(preflight('https://forum.example.org'))).statusCode, 405);
  });

  it('may where they are named, without credentials of the browser, and with keys of their own', async () => {
    const { app } = await buildTestApp({
      corsOrigins: ['https://forum.example.org'],
      apiKeys: `a=classify:${'0'.repeat(64)}`,
    });
    const allowed = await app.inject(preflight('https://forum.example.org'));
    assert.deepEqual(
      [
        allowed.statusCode,
        allowed.headers['access-control-allow-origin'],
        allowed.headers['access-control-allow-credentials'],
      ],
      [204, 'https://forum.example.org', undefined],
    );
    // What is refused can be read by the page as well.
    const refused = await app.inject({ url: '/models', headers: { origin: 'https://forum.example.org' } });
    assert.deepEqual(
      [refused.statusCode, refused.headers['access-control-allow-origin']],
      [401, 'https://forum.example.org'],
    );
    const other = await app.inject({ url: '/models', headers: { origin: 'https://evil.example' } });
    assert.equal(other.headers['access-control-allow-origin'], undefined);
    assert.equal(
      (await app.inject(preflight('https://evil.example'))).headers['access-control-allow-origin'],
      undefined,
    );
  });
});

describe('headers of every answer', () => {
  it('tell browsers that data is no page', async () => {
    const { app } = await buildTestApp();
    for (const url of ['/models', '/nowhere', '/%zz', '/metrics', '/health/live']) {
      const { headers } = await app.inject(url);
      assert.deepEqual(
        ['x-content-type-options', 'content-security-policy', 'x-frame-options', 'referrer-policy'].map(
          (name) => headers[name],
        ),
        ['nosniff', "default-src 'none'; frame-ancestors 'none'", 'DENY', 'no-referrer'],
        url,
      );
    }
  });
});
