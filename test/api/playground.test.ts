import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { buildTestApp } from './build-test-app.ts';

describe('the playground', () => {
  it('is a page whose parts all come from here and may be kept for ever', async () => {
    const { app } = await buildTestApp();
    const page = await app.inject('/');
    assert.equal(page.statusCode, 200);
    assert.equal(page.headers['cache-control'], 'no-cache');
    const parts = [...page.body.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, address]) => address as string);
    const files = parts.filter((address) => address !== '/docs');
    assert.ok(files.length >= 5);
    for (const address of files) {
      assert.match(address, /^\/ui\/[0-9a-f]{16}\/[a-z-]+\.(js|css|svg)$/);
      const file = await app.inject(address);
      assert.equal(file.statusCode, 200, address);
      assert.match(String(file.headers['cache-control']), /immutable/);
      assert.match(String(file.headers['content-type']), /^(text\/(javascript|css)|image\/svg\+xml)/);
    }
  });

  it('forbids inline code and other origins, on this page alone', async () => {
    const { app } = await buildTestApp();
    const page = await app.inject('/');
    const policy = String(page.headers['content-security-policy']);
    assert.match(policy, /^default-src 'none'/);
    assert.equal(/unsafe|https?:|\*|data:/.test(policy), false, policy);
    assert.equal(/<script(?![^>]*\ssrc=)|<style|\son[a-z]+=|\sstyle=/i.test(page.body), false);
    const data = (await app.inject('/models')).headers['content-security-policy'];
    assert.equal(data, "default-src 'none'; frame-ancestors 'none'");
  });

  it('is not sent again while it is the same', async () => {
    const { app } = await buildTestApp();
    const { etag } = (await app.inject('/')).headers;
    const again = await app.inject({ url: '/', headers: { 'if-none-match': String(etag) } });
    assert.deepEqual([again.statusCode, again.body], [304, '']);
  });

  it('serves its own files and nothing else', async () => {
    const { app } = await buildTestApp();
    const [folder] = /\/ui\/[0-9a-f]{16}/.exec((await app.inject('/')).body) as RegExpExecArray;
    for (const path of [`${folder}/index.html`, `${folder}/tsconfig.json`, `${folder}/..%2Fapp.ts`, '/ui/0/main.js']) {
      assert.equal((await app.inject(path)).statusCode, 404, path);
    }
  });
});
