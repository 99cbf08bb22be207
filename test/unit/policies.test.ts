import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';

import type { ServedModel } from '../../src/engine/types.ts';
import { createPolicies, PolicyError } from '../../src/moderation/policies.ts';
import { DEFAULT_POLICY, type Policy } from '../../src/moderation/policy.ts';
import { createFakeEngine, PLAIN } from '../api/fake-engine.ts';

const SOUND: Policy = {
  schemaVersion: 1,
  name: 'forum',
  version: '1',
  thresholds: { offensive: { review: 0.4, block: 'high-precision' } },
};

const own = (fields: object) => ({ schemaVersion: 1, name: 'forum', version: '1', ...fields });
const models = (...names: string[]) => names.map((model) => ({ model }));
const thresholds = { offensive: { review: 0.4, block: 0.8 } };

/** A wrong policy, and what is said of it. */
const WRONG: readonly [what: string, policy: object, problem: RegExp][] = [
  ['an unknown field', own({ thresholds, treshold: 1 }), /^a\.json.*: must not have additional properties$/],
  [
    'a threshold over 1',
    own({ thresholds: { offensive: { review: 1.2 } } }),
    /^a\.json\/thresholds\/offensive\/review: /,
  ],
  ['an empty band', own({ thresholds: { offensive: {} } }), /^a\.json\/thresholds\/offensive: /],
  ['no thresholds', own({}), /has a model without thresholds/],
  ['a model without any', own({ models: models('gated') }), /has a model without thresholds/],
  [
    'thresholds that no model uses',
    own({ models: [{ model: 'gated', thresholds }], thresholds }),
    /has `thresholds` that no model uses/,
  ],
  ['a combination of one', own({ combine: 'all', thresholds }), /has `combine`, which needs several models/],
  [
    'max with thresholds of a model',
    own({ combine: 'max', models: [{ model: 'gated', thresholds }, { model: 'plain' }], thresholds }),
    /combines by `max`, so thresholds stand in `thresholds`/,
  ],
  [
    'max with a named threshold',
    own({ combine: 'max', models: models('gated', 'plain'), thresholds: { offensive: { review: 'balanced' } } }),
    /combines by `max`, so thresholds are numbers/,
  ],
  ['a model twice', own({ models: models('gated', 'gated'), thresholds }), /names the model gated twice/],
  [
    'a model that is not served',
    own({ models: models('gone'), thresholds }),
    /names the model gone, which is not served/,
  ],
  [
    'a label that the model does not have',
    own({ models: models('gated'), thresholds: { labels: { hate: { review: 0.1 } } } }),
    /has a threshold for hate, which gated does not know/,
  ],
  [
    'review above block',
    own({ thresholds: { labels: { hate: { review: 0.9, block: 0.5 } } } }),
    /reviews hate from 0.9 and blocks from 0.5: review must not be above block/,
  ],
  [
    'review above block of a label that is called offensive',
    own({ thresholds: { offensive: { review: 0.1 }, labels: { offensive: { review: 0.9, block: 0.5 } } } }),
    /reviews offensive from 0.9 and blocks from 0.5/,
  ],
  [
    'review above block once names are looked up',
    own({ models: models('gated'), thresholds: { offensive: { review: 0.95, block: 'high-precision' } } }),
    /reviews offensive from 0.95 and blocks from 0.9 with gated/,
  ],
  [
    'gates of a model without any',
    own({ models: models('plain'), thresholds, gates: { reviewAbovePercentile: 99 } }),
    /looks at gates, and plain brings no distribution/,
  ],
  [
    'a default with models',
    { ...own({ models: models('gated'), thresholds }), name: 'default' },
    /decides where a request names no policy, so it must not name models/,
  ],
  [
    'a default that does not fit every model',
    { ...own({ thresholds: { labels: { hate: { review: 0.1 } } } }), name: 'default' },
    /has a threshold for hate, which gated does not know/,
  ],
];

describe('a folder of policies', () => {
  const engine = createFakeEngine();
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'policies-'));
  });
  after(() => rm(folder, { recursive: true }));
  const write = (file: string, content: unknown) =>
    writeFile(join(folder, file), typeof content === 'string' ? content : JSON.stringify(content));
  const open = () => createPolicies({ folder, engine });

  beforeEach(async () => {
    for (const file of ['a.json', 'b.json']) await rm(join(folder, file), { force: true });
  });

  async function problemsOf(opening: Promise<unknown>): Promise<readonly string[]> {
    const error = await opening.then(
      () => assert.fail('the policies were taken'),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof PolicyError, String(error));
    return error.problems;
  }

  it('adds to the built-in policy, in order of names', async () => {
    await write('a.json', SOUND);
    await write('b.json', { ...SOUND, name: 'archive' });
    await write('notes.txt', 'no policy');
    assert.deepEqual(
      (await open()).list().map(({ name }) => name),
      ['archive', 'default', 'forum'],
    );
  });

  it('is not needed', async () => {
    assert.deepEqual((await createPolicies({ folder: undefined, engine })).list(), [DEFAULT_POLICY]);
  });

  it('may replace the built-in policy', async () => {
    await write('a.json', { ...SOUND, name: 'default', version: '9' });
    assert.deepEqual(
      (await open()).list().map(({ version }) => version),
      ['9'],
    );
  });

  it('may hold the highest score of a label against a threshold when one model has it', async () => {
    const hate = { labels: { hate: { review: 0.1 } } };
    await write('a.json', own({ combine: 'max', models: models('gated', 'plain'), thresholds: hate }));
    assert.equal((await open()).list().length, 2);
    assert.ok(PLAIN.manifest.labels.includes('hate'));
  });

  for (const [what, policy, problem] of WRONG) {
    it(`is refused for ${what}`, async () => {
      await write('a.json', policy);
      const problems = await problemsOf(open());
      assert.ok(
        problems.some((one) => problem.test(one)),
        problems.join('\n'),
      );
      assert.ok(
        problems.every((one) => one.startsWith('a.json')),
        problems.join('\n'),
      );
    });
  }

  it('is refused with every problem of every file', async () => {
    await write('a.json', own({ models: models('gone'), combine: 'all', thresholds }));
    await write('b.json', '{"name": ');
    assert.deepEqual(await problemsOf(open()), [
      'a.json: has `combine`, which needs several models',
      'a.json: names the model gone, which is not served',
      'b.json is not JSON',
    ]);
  });

  it('is refused when two files have one name', async () => {
    await write('a.json', SOUND);
    await write('b.json', SOUND);
    assert.deepEqual(await problemsOf(open()), ['b.json: a.json has the name forum too']);
  });

  it('is refused when it is not there', async () => {
    const [problem = ''] = await problemsOf(createPolicies({ folder: join(folder, 'gone'), engine }));
    assert.match(problem, /^the folder cannot be read \(ENOENT\)/);
  });

  it('is read again as a whole', async () => {
    await write('a.json', SOUND);
    const policies = await open();
    await write('a.json', { ...SOUND, version: '2' });
    await write('b.json', { ...SOUND, name: 'archive' });
    await policies.reload();
    assert.deepEqual(
      policies.list().map(({ name, version }) => `${name} ${version}`),
      ['archive 1', 'default 1', 'forum 2'],
    );
  });

  it('leaves the present policies when a file is wrong', async () => {
    await write('a.json', SOUND);
    const policies = await open();
    await write('a.json', { ...SOUND, version: '2' });
    await write('b.json', { ...SOUND, name: 'archive', thresholds: {} });
    await problemsOf(policies.reload());
    assert.deepEqual(policies.list(), [DEFAULT_POLICY, SOUND]);
  });
});

describe('the policies that come with the service', () => {
  it('fit the models that come with it', async () => {
    const root = new URL('../../', import.meta.url);
    const folders = await readdir(new URL('models/', root));
    const served = await Promise.all(
      folders.map(async (folder): Promise<ServedModel> => {
        const manifest = JSON.parse(await readFile(new URL(`models/${folder}/manifest.json`, root), 'utf8'));
        return { ...PLAIN, name: manifest.name, version: manifest.version, manifest };
      }),
    );
    const engine = { models: () => served, find: (name?: string) => served.find((model) => model.name === name) };
    const { pathname } = new URL('policies', root);
    const policies = await createPolicies({ folder: pathname, engine });
    assert.deepEqual(
      policies.list().map(({ name }) => name),
      ['default', 'forum', 'strict'],
    );
  });
});
