import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { buildTestApp } from './build-test-app.ts';
import { assertDocumented, openapi } from './documented.ts';

async function get(url: string) {
  const { app } = await buildTestApp();
  return app.inject(url);
}

function codeOf(answer: { body: string }): unknown {
  return (JSON.parse(answer.body) as { code?: unknown }).code;
}

describe('GET /models', () => {
  it('describes what is served, and what is refused with the reason', async () => {
    const { models, refused } = assertDocumented(await get('/models'), 'GET', '/models') as {
      models: Record<string, unknown>[];
      refused: unknown[];
    };
    assert.deepEqual(
      models.map(({ name, default: standard, current, aliases, folder, precision, executionProvider }) => [
        name,
        standard,
        current,
        aliases,
        folder,
        precision,
        executionProvider,
      ]),
      [
        ['gated', true, true, ['stable'], 'gated', 'int8', 'cpu'],
        ['plain', false, true, [], 'plain', 'int8', 'cpu'],
      ],
    );
    assert.deepEqual(refused, [{ folder: 'broken', reason: 'model.onnx has another checksum' }]);
  });

  it('refuses parameters', async () => {
    const answer = await get('/models?name=gated');
    assertDocumented(answer, 'GET', '/models');
    assert.equal(codeOf(answer), 'unknown_option');
  });
});

describe('GET /health', () => {
  it('is alive and ready', async () => {
    assert.deepEqual(assertDocumented(await get('/health/live'), 'GET', '/health/live'), { status: 'alive' });
    assert.deepEqual(assertDocumented(await get('/health/ready'), 'GET', '/health/ready'), { status: 'ready' });
  });

  it('is not ready while the engine is not', async () => {
    const { app, engine } = await buildTestApp();
    engine.healthy = false;
    const answer = await app.inject('/health/ready');
    assertDocumented(answer, 'GET', '/health/ready');
    assert.deepEqual([answer.statusCode, codeOf(answer)], [503, 'not_ready']);
  });

  it('is alive but not ready while it drains, and still serves', async () => {
    const { app, lifecycle, classify } = await buildTestApp();
    lifecycle.drain();
    const answer = await app.inject('/health/ready');
    assertDocumented(answer, 'GET', '/health/ready');
    assert.deepEqual([answer.statusCode, codeOf(answer)], [503, 'shutting_down']);
    assert.equal((await app.inject('/health/live')).statusCode, 200);
    const served = await classify({ text: 'a' });
    assert.equal(served.statusCode, 200);
    assert.equal(served.headers.connection, 'close');
  });
});

describe('documentation', () => {
  it('shows a page that asks for nothing elsewhere', async () => {
    const { app } = await buildTestApp();
    const page = await app.inject('/docs');
    assert.equal(page.statusCode, 200);
    const policy = String(page.headers['content-security-policy']);
    assert.match(policy, /^default-src 'none'/);
    assert.equal(/https?:|\*/.test(policy), false, policy);
    const parts = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address]) => address as string);
    assert.ok(parts.length >= 5);
    for (const address of parts) {
      assert.match(address, /^\/docs\//);
      assert.equal((await app.inject(address)).statusCode, 200, address);
    }
  });

  it('is the committed document', async () => {
    const { app } = await buildTestApp({ adminKey: 'for the routes that need one' });
    const served = JSON.parse((await app.inject('/docs/json')).body) as typeof openapi;
    assert.deepEqual(served.components, openapi.components);
    assert.deepEqual(served.paths, openapi.paths);
  });
});

describe('paths and methods', () => {
  it('answers 404 to a path that does not exist, whatever its body', async () => {
    const { app } = await buildTestApp();
    for (const request of [
      { method: 'GET', url: '/nothing?here=1' },
      { method: 'GET', url: '/classify/' },
      { method: 'POST', url: '/nothing', headers: { 'content-type': 'text/plain' }, payload: 'x' },
    ] as const) {
      const answer = await app.inject(request);
      assert.deepEqual([answer.statusCode, codeOf(answer)], [404, 'not_found']);
    }
  });

  it('answers 404 to what is no file of the documentation', async () => {
    const { app } = await buildTestApp();
    for (const name of ['none', '..%2f..%2fpackage.json', '../../package.json', 'a%00b', '.env', '%5c..%5cx']) {
      const answer = await app.inject({ method: 'GET', url: `/docs/static/${name}` });
      assert.deepEqual([answer.statusCode, codeOf(answer)], [404, 'not_found'], name);
    }
  });

  it('answers 405 with the methods that the path takes', async () => {
    const { app } = await buildTestApp();
    for (const [method, url, allow] of [
      ['GET', '/classify', 'POST'],
      ['PUT', '/classify', 'POST'],
      ['OPTIONS', '/classify', 'POST'],
      ['POST', '/models', 'GET, HEAD'],
      ['DELETE', '/health/live?x=1', 'GET, HEAD'],
      ['GET', '/models/any', 'POST'],
      ['PUT', '/v2/models/any/versions/1.0.0/infer', 'POST'],
    ] as const) {
      const answer = await app.inject({ method, url });
      assert.deepEqual([answer.statusCode, codeOf(answer), answer.headers.allow], [405, 'method_not_allowed', allow]);
    }
  });

  it('answers 400 to an address that cannot be decoded', async () => {
    const answer = await get('/%zz');
    assert.deepEqual([answer.statusCode, codeOf(answer)], [400, 'bad_request']);
  });
});
