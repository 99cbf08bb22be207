import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { buildTestApp } from './build-test-app.ts';
import { assertDocumented } from './documented.ts';

const KEY = 'a key of the administrator';

/** Sends requests of somebody who has the key. */
async function administrator() {
  const { app, engine } = await buildTestApp({ adminKey: KEY });
  return {
    app,
    engine,
    async ask(method: 'GET' | 'POST' | 'DELETE', url: string, path = url) {
      const answer = await app.inject({ method, url, headers: { 'x-api-key': KEY } });
      return { status: answer.statusCode, body: assertDocumented(answer, method, path) as Record<string, unknown> };
    },
  };
}

const ROUTES = [
  ['GET', '/admin/bundles', '/admin/bundles'],
  ['POST', '/admin/reload', '/admin/reload'],
  ['POST', '/admin/bundles/plain/load', '/admin/bundles/{folder}/load'],
  ['DELETE', '/admin/models/plain/1.2.3', '/admin/models/{name}/{version}'],
] as const;

describe('administration of models', () => {
  it('does not exist without a key', async () => {
    const { app } = await buildTestApp();
    for (const [method, url] of ROUTES) assert.equal((await app.inject({ method, url })).statusCode, 404);
  });

  it('turns away who has not the key, and does nothing', async () => {
    const { app, engine } = await administrator();
    for (const [method, url, path] of ROUTES)
      for (const headers of [{}, { 'x-api-key': 'another' }, { authorization: `Basic ${KEY}` }]) {
        const answer = await app.inject({ method, url, headers });
        assert.equal(answer.statusCode, 401);
        assertDocumented(answer, method, path);
        assert.equal(answer.body.includes(KEY), false);
      }
    assert.equal(engine.models().length, 2);
  });

  it('says what became of each bundle at a reload', async () => {
    const { ask } = await administrator();
    assert.deepEqual(await ask('POST', '/admin/reload'), {
      status: 200,
      body: {
        bundles: [
          { folder: 'broken', outcome: 'refused', reason: 'model.onnx has another checksum' },
          { folder: 'gated', name: 'gated', version: '1.2.3', outcome: 'unchanged' },
          { folder: 'plain', name: 'plain', version: '1.2.3', outcome: 'unchanged' },
        ],
        policies: { outcome: 'taken', problems: [] },
        seconds: 0.25,
      },
    });
  });

  it('says when the folder cannot be read, without its path', async () => {
    const { ask, engine } = await administrator();
    engine.reload = () => Promise.reject(new Error('The models folder /secret cannot be read'));
    const { status, body } = await ask('POST', '/admin/reload');
    assert.deepEqual([status, body.code], [500, 'models_unreadable']);
    assert.equal(JSON.stringify(body).includes('secret'), false);
  });

  it('unloads a version, lists it as unavailable, and loads it again', async () => {
    const { ask } = await administrator();
    const plain = { folder: 'plain', name: 'plain', version: '1.2.3' };
    const unload = () => ask('DELETE', '/admin/models/plain/1.2.3', '/admin/models/{name}/{version}');
    const load = () => ask('POST', '/admin/bundles/plain/load', '/admin/bundles/{folder}/load');
    assert.deepEqual((await unload()).body, { ...plain, outcome: 'unloaded' });
    const { body } = await ask('GET', '/admin/bundles');
    assert.deepEqual(body.bundles, [
      { folder: 'broken', state: 'unavailable', reason: 'model.onnx has another checksum' },
      { folder: 'gated', name: 'gated', version: '1.2.3', state: 'ready' },
      { ...plain, state: 'unavailable', reason: 'unloaded by request' },
    ]);
    const again = await unload();
    assert.deepEqual([again.status, again.body.code], [404, 'unknown_model']);
    assert.deepEqual((await load()).body, { ...plain, outcome: 'loaded' });
    assert.deepEqual((await load()).body, { ...plain, outcome: 'unchanged' });
  });

  it('fails where nothing was done, so that a script notices', async () => {
    const { ask } = await administrator();
    const load = (folder: string) =>
      ask('POST', `/admin/bundles/${encodeURIComponent(folder)}/load`, '/admin/bundles/{folder}/load');
    const refused = await load('broken');
    assert.deepEqual(
      [refused.status, refused.body.code, refused.body.detail],
      [422, 'bundle_refused', 'model.onnx has another checksum'],
    );
    for (const folder of ['nobody', '../plain', 'plain/..', '.plain', '%2e%2e'])
      assert.deepEqual([(await load(folder)).status, (await load(folder)).body.code], [404, 'unknown_bundle']);
    const needed = await ask('DELETE', '/admin/models/gated/1.2.3', '/admin/models/{name}/{version}');
    assert.deepEqual([needed.status, needed.body.code], [409, 'model_needed']);
    assert.equal(needed.body.detail, 'the alias stable means it');
  });

  it('takes no parameters', async () => {
    const { ask } = await administrator();
    const { status, body } = await ask('POST', '/admin/reload?force=1', '/admin/reload');
    assert.deepEqual([status, body.code], [400, 'unknown_option']);
  });
});
