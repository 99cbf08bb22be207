import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { AttributesFileError, loadAttributes } from '../../src/api/compat/attributes-file.ts';
import { GATED, PLAIN } from '../api/fake-engine.ts';

describe('ATTRIBUTES_FILE', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'attributes-'));
  });
  after(() => rm(folder, { recursive: true }));

  async function load(content: unknown) {
    const path = join(folder, 'attributes.json');
    await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
    return loadAttributes(path, [GATED, PLAIN]);
  }

  it('replaces the mapping of the models that it names, and leaves the others', async () => {
    const attributes = await load({ gated: { OFF: { perspective: ['INSULT', 'TOXICITY'] } } });
    assert.deepEqual(
      [...attributes.of(GATED, 'perspective')],
      [
        ['INSULT', [1]],
        ['TOXICITY', [1]],
      ],
    );
    assert.deepEqual([...attributes.of(GATED, 'openai')], []);
    assert.deepEqual(attributes.of(PLAIN, 'perspective').get('TOXICITY'), [1, 2]);
  });

  it('is optional', async () => {
    const attributes = await loadAttributes(undefined, [GATED]);
    assert.deepEqual([...attributes.of(GATED, 'openai')], [['harassment', [1]]]);
  });

  const WRONG: Readonly<Record<string, readonly [content: unknown, problem: RegExp]>> = {
    'a file that is no JSON': ['{', /not JSON/],
    'a model that is not served': [{ other: {} }, /^other is not served; served are: gated, plain$/],
    'a label that the model does not have': [
      { plain: { OFF: {} } },
      /^plain 1\.2\.3 has no label OFF; its labels are: normal, offensive, hate$/,
    ],
    'an attribute that Perspective does not have': [
      { gated: { OFF: { perspective: ['TOXCITY'] } } },
      /\/gated\/OFF\/perspective\/0/,
    ],
    'a category that OpenAI does not have': [{ gated: { OFF: { openai: ['rudeness'] } } }, /\/gated\/OFF\/openai\/0/],
    'a service that is not known': [{ gated: { OFF: { azure: [] } } }, /\/gated\/OFF/],
    'a list': [[], /must be object/],
  };
  for (const [name, [content, problem]] of Object.entries(WRONG)) {
    it(`refuses ${name}, and says where`, async () => {
      await assert.rejects(load(content), (error) => {
        assert.ok(error instanceof AttributesFileError);
        assert.ok(
          error.problems.some((line) => problem.test(line)),
          error.message,
        );
        return true;
      });
    });
  }

  it('refuses a file that cannot be read', async () => {
    await assert.rejects(loadAttributes(join(folder, 'nowhere'), []), /it cannot be read \(ENOENT\)/);
  });
});
