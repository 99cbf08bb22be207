import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';

import { digestOf, generateKey, parseEntry } from '../../../src/api/access/api-key.ts';
import { createKeyRing, KeysError } from '../../../src/api/access/key-ring.ts';
import { buildTestApp } from '../build-test-app.ts';
import { assertDocumented } from '../documented.ts';

const entry = (name: string, scopes: string, key: string) => `${name}=${scopes}:${digestOf(key).toString('hex')}`;
const KEYS = { forum: 'dsl_forum-marked', scraper: 'dsl_scraper-marked', owner: 'dsl_owner-marked' };
const API_KEYS = [
  entry('forum', 'classify', KEYS.forum),
  entry('scraper', 'metrics', KEYS.scraper),
  entry('owner', 'classify+admin+metrics', KEYS.owner),
].join(',');

async function keysFile(t: TestContext, content: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'keys-'));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, 'keys');
  await writeFile(path, content);
  return path;
}

function problemsOf(act: () => unknown): readonly string[] {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof KeysError);
    return error.problems;
  }
  return [];
}

describe('keys', () => {
  it('are kept as their digests, and found by what clients send', () => {
    const ring = createKeyRing({ apiKeys: API_KEYS, adminKey: 'old' });
    assert.equal(ring.find(KEYS.forum)?.name, 'forum');
    assert.deepEqual([...(ring.find(KEYS.owner)?.scopes ?? [])].sort(), ['admin', 'classify', 'metrics']);
    assert.deepEqual([ring.find('old')?.name, ...(ring.find('old')?.scopes ?? [])], ['ADMIN_KEY', 'admin']);
    for (const wrong of ['', 'dsl_', KEYS.forum.slice(0, -1), `${KEYS.forum} `, digestOf(KEYS.forum).toString('hex')])
      assert.equal(ring.find(wrong), undefined, wrong);
  });

  it('have 256 random bits and a prefix that tells what they are', () => {
    const keys = new Set(Array.from({ length: 100 }, generateKey));
    assert.equal(keys.size, 100);
    for (const key of keys) assert.match(key, /^dsl_[A-Za-z0-9_-]{43}$/);
  });

  it('must be written as they should, and messages repeat none', () => {
    const twice = [entry('a', 'classify', 'x'), entry('a', 'metrics', 'y'), entry('b', 'classify', 'x')].join(',');
    assert.deepEqual(
      problemsOf(() => createKeyRing({ apiKeys: twice })),
      ['Two keys are named a', 'a and b are the same key'],
    );
    const wrong = [
      'dsl_a-key-itself',
      'a=classify:abc',
      'a=root:'.padEnd(71, '0'),
      'a=classify+classify:'.padEnd(84, '0'),
    ];
    const problems = problemsOf(() => createKeyRing({ apiKeys: wrong.join(',') }));
    assert.equal(problems.length, wrong.length);
    for (const problem of problems) assert.doesNotMatch(problem, /itself|abc|root|0{8}/);
  });

  it('are read again from their file, and a file with mistakes leaves those that are there', async (t) => {
    const path = await keysFile(t, `# keys of clients\n\n${entry('first', 'classify', 'one')}\n`);
    const ring = createKeyRing({ apiKeysFile: path });
    // Closed until it is read.
    assert.deepEqual([ring.required('classify'), ring.find('one')], [true, undefined]);
    await ring.reload();
    assert.equal(ring.find('one')?.name, 'first');
    await writeFile(path, entry('second', 'classify', 'two'));
    await ring.reload();
    assert.deepEqual([ring.find('one'), ring.find('two')?.name], [undefined, 'second']);
    for (const [content, problem] of [
      ['', /there is no key in it/],
      ['nonsense', /line 1 must be name=scope\+scope:sha256/],
      ['#\n'.repeat(600_000), /has 1200000 bytes: too many/],
    ] as const) {
      await writeFile(path, content);
      await assert.rejects(ring.reload, problem);
      assert.equal(ring.find('two')?.name, 'second');
    }
    await rm(path);
    await assert.rejects(ring.reload, /cannot be read \(ENOENT\)/);
    assert.equal(ring.find('two')?.name, 'second');
  });

  it('are made by npm run key, which prints the entry', () => {
    const { stdout, stderr } = runKey(['forum', 'classify', 'metrics']);
    const read = parseEntry(stdout.trim());
    assert.ok(typeof read === 'object');
    const key = /^dsl_\S+$/m.exec(stderr)?.[0] as string;
    assert.deepEqual([read.name, [...read.scopes], read.digest], ['forum', ['classify', 'metrics'], digestOf(key)]);
    assert.equal(stdout.includes(key), false);
    for (const wrong of [[], ['a b'], ['a', 'root']]) assert.match(runKey(wrong).stderr, /^Usage: npm run key/);
  });

  for (const [page, number] of [
    ['README.md', 1],
    ['docs/security.md', 3],
  ] as const)
    it(`get into their file by the commands of ${page}`, async (t) => {
      const commands = [...(await readFile(page, 'utf8')).matchAll(/^ {4}(npm run .*?) >> keys\b/gm)];
      assert.equal(commands.length, number);
      const path = await keysFile(t, '');
      for (const [, command] of commands) {
        const { status, stderr } = spawnSync(`${command} >> "$KEYS"`, {
          shell: true,
          encoding: 'utf8',
          env: { ...process.env, KEYS: path },
        });
        assert.equal(status, 0, stderr);
      }
      await createKeyRing({ apiKeysFile: path }).reload();
    });
});

function runKey(args: readonly string[]) {
  return spawnSync(process.execPath, ['src/cli/key.ts', ...args], { encoding: 'utf8' });
}

describe('routes with keys', () => {
  const ROUTES = [
    ['GET', '/models', 'classify'],
    ['GET', '/policies', 'classify'],
    ['POST', '/classify', 'classify'],
    ['GET', '/v2', 'classify'],
    ['GET', '/v1/models', 'classify'],
    ['GET', '/info', 'classify'],
    ['GET', '/metrics', 'metrics'],
    ['GET', '/admin/bundles', 'admin'],
    ['POST', '/admin/reload', 'admin'],
  ] as const;

  for (const [method, url, scope] of ROUTES)
    it(`${method} ${url} needs the scope ${scope}`, async () => {
      const { app, log } = await buildTestApp({ apiKeys: API_KEYS });
      const ask = (headers: Record<string, string>) => app.inject({ method, url, headers });
      const without = await ask({});
      assertDocumented(without, method, url);
      assert.deepEqual([without.statusCode, without.headers['www-authenticate']], [401, 'Bearer realm="ds-lora"']);
      const unknown = await ask({ authorization: 'Bearer dsl_guessed-marked' });
      assert.deepEqual(
        [unknown.statusCode, unknown.headers['www-authenticate']],
        [401, 'Bearer realm="ds-lora", error="invalid_token"'],
      );
      const other = await ask({ 'x-api-key': scope === 'metrics' ? KEYS.forum : KEYS.scraper });
      assertDocumented(other, method, url);
      assert.deepEqual(
        [other.statusCode, other.headers['www-authenticate']],
        [403, `Bearer realm="ds-lora", error="insufficient_scope", scope="${scope}"`],
      );
      const allowed = await ask({ authorization: `bearer ${KEYS.owner}` });
      assert.ok(![401, 403].includes(allowed.statusCode), String(allowed.statusCode));
      assert.equal(log.requests().at(-1)?.key, 'owner');
      assert.doesNotMatch(log.text(), /marked/);
    });

  it('leave health checks, pages and their files open, and say nothing of what is nowhere', async () => {
    const { app } = await buildTestApp({ apiKeys: API_KEYS });
    for (const [url, status] of [
      ['/', 200],
      ['/docs/json', 200],
      ['/health/live', 200],
      ['/health/ready', 200],
      ['/health', 200],
      ['/ping', 200],
      ['/v2/health/ready', 200],
      ['/$discovery/rest?version=v1alpha1', 200],
      ['/nowhere', 404],
      ['/classify', 405],
    ] as const)
      assert.equal((await app.inject(url)).statusCode, status, url);
  });

  it('are each open or in need of a key, as the OpenAPI document says', async () => {
    const { app } = await buildTestApp({ apiKeys: API_KEYS });
    await app.ready();
    const { paths } = app.swagger() as unknown as { paths: Record<string, Record<string, { security?: object[] }>> };
    const open: string[] = [];
    for (const [path, operations] of Object.entries(paths))
      for (const [method, { security = [] }] of Object.entries(operations)) {
        const url = path.replaceAll(/\{\w+\}/g, 'plain');
        const { statusCode } = await app.inject({ method: method.toUpperCase() as 'GET', url });
        const refused = statusCode === 401 || (path.startsWith('/v1alpha1') && [403, 501].includes(statusCode));
        assert.equal(refused, security.length > 0, `${method} ${path} ${statusCode}`);
        if (!refused) open.push(path);
      }
    assert.deepEqual(open.sort(), [
      '/$discovery/rest',
      '/health',
      '/health/live',
      '/health/ready',
      '/ping',
      '/v2/health/live',
      '/v2/health/ready',
    ]);
  });

  it('are open without keys, but those of administration are not there', async () => {
    const { app } = await buildTestApp();
    for (const [method, url, scope] of ROUTES) {
      const { statusCode } = await app.inject({ method, url, headers: { authorization: 'Bearer any' } });
      assert.equal(scope === 'admin' ? statusCode === 404 : ![401, 403].includes(statusCode), true, url);
    }
  });

  it('with ADMIN_KEY alone ask for it in administration only', async () => {
    const { app } = await buildTestApp({ adminKey: 'old' });
    assert.equal((await app.inject('/models')).statusCode, 200);
    assert.equal((await app.inject('/admin/bundles')).statusCode, 401);
    const answer = await app.inject({ url: '/admin/bundles', headers: { 'x-api-key': 'old' } });
    assert.equal(answer.statusCode, 200);
  });
});

describe('keys where each protocol puts them', () => {
  const json = { 'content-type': 'application/json' };
  const perspective = { comment: { text: 'a' }, requestedAttributes: { TOXICITY: {} } };
  /** Path and body, the ways to send the key, and what is said where there is none and where there is a wrong one. */
  const PROTOCOLS = {
    native: ['/classify', { text: 'a' }, ['bearer', 'x-api-key'], [401, 'code', 'unauthorized'], [401, 'code']],
    OpenAI: [
      '/v1/moderations',
      { input: 'a' },
      ['bearer'],
      [401, 'error.code', 'invalid_api_key'],
      [401, 'error.message'],
    ],
    'text-embeddings-inference': ['/predict', { inputs: 'a' }, ['bearer'], [401, 'error_type'], [401, 'error']],
    'Hugging Face': ['/models/gated', { inputs: 'a' }, ['bearer'], [401, 'error_type'], [401, 'error']],
    KServe: [
      '/v2/models/gated/infer',
      { inputs: [{ name: 'text', shape: [1], datatype: 'BYTES', data: ['a'] }] },
      ['bearer', 'x-api-key'],
      [401, 'error'],
      [401, 'error'],
    ],
    Perspective: [
      '/v1alpha1/comments:analyze',
      perspective,
      ['query', 'x-goog-api-key', 'x-api-key', 'bearer'],
      [403, 'error.status', 'PERMISSION_DENIED'],
      [400, 'error.status', 'INVALID_ARGUMENT'],
    ],
  } as const;

  for (const [name, [url, payload, places, missing, wrong]] of Object.entries(PROTOCOLS))
    it(name, async () => {
      const { app, log } = await buildTestApp({ apiKeys: API_KEYS });
      const send = (place: string | undefined, key: string) =>
        app.inject({
          method: 'POST',
          url: place === 'query' ? `${url}?key=${key}` : url,
          headers: {
            ...json,
            ...(place === 'bearer' ? { authorization: `Bearer ${key}` } : {}),
            ...(place?.startsWith('x-') ? { [place]: key } : {}),
          },
          payload,
        });
      for (const place of places) {
        const answer = await send(place, KEYS.forum);
        assert.equal(answer.statusCode, 200, `${place}: ${answer.body}`);
        said(await send(place, 'dsl_guessed-marked'), wrong);
      }
      said(await send(undefined, ''), missing);
      assert.doesNotMatch(log.text(), /marked/);
    });

  function said(
    { statusCode, body, headers }: { statusCode: number; body: string; headers: Record<string, unknown> },
    [status, path, value]: readonly [number, string, string?],
  ): void {
    assert.equal(statusCode, status, body);
    const found = path
      .split('.')
      .reduce<unknown>((inner, key) => (inner as Record<string, unknown>)?.[key], JSON.parse(body));
    assert.equal(typeof found, 'string', body);
    if (value !== undefined) assert.equal(found, value);
    assert.match(String(headers['www-authenticate']), /^Bearer realm="ds-lora"/);
  }
});
