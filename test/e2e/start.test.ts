import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { skipWithout } from './program.ts';
import { FIXTURES, refusal, startService, temporaryFolder } from './service.ts';

describe('start', () => {
  it('says where, which models, and one curl line that works', { skip: skipWithout('curl') }, async (t) => {
    const service = await startService(t);
    assert.match(service.output(), /Listening on http:\/\/127\.0\.0\.1:\d+ /);
    assert.match(service.output(), /\n {2}tiny 1\.0\.0 \(fp32, cpu\), default\n/);
    const line = /^ {2}(curl .*)$/m.exec(service.output())?.[1] as string;
    const answer = JSON.parse(execFileSync('sh', ['-c', line], { encoding: 'utf8' }));
    assert.equal(answer.model.name, 'tiny');
    assert.deepEqual(Object.keys(answer.results[0].probabilities), ['NOT', 'OFF']);
    assert.equal(answer.results[0].gates.layers.length, 2);
  });

  it('serves what is good and says what it refused', async (t) => {
    const folder = await temporaryFolder(t);
    spawnSync('cp', ['-r', join(FIXTURES, 'tiny'), join(folder, 'good')]);
    spawnSync('cp', ['-r', join(FIXTURES, 'tiny'), join(folder, 'spoilt')]);
    spawnSync('sh', ['-c', 'printf x >> "$0"', join(folder, 'spoilt/model.onnx')]);
    const service = await startService(t, { MODELS_DIR: folder });
    assert.match(service.output(), /Refused bundles:\n {2}spoilt: .*model\.onnx/);
    const listed = (await (await fetch(`${service.url}/models`)).json()) as { refused: { folder: string }[] };
    assert.deepEqual(
      listed.refused.map(({ folder }) => folder),
      ['spoilt'],
    );
  });

  it('ends when no model can be served', async (t) => {
    const folder = await temporaryFolder(t);
    assert.match(
      await refusal(t, { MODELS_DIR: folder }),
      /No model can be served from MODELS_DIR .*It holds no bundle/,
    );
    assert.match(await refusal(t, { MODELS_DIR: join(folder, 'nowhere') }), /MODELS_DIR .* cannot be read/);
  });

  it('ends when the default model is not served', async (t) => {
    assert.match(
      await refusal(t, { DEFAULT_MODEL: 'other' }),
      /DEFAULT_MODEL \(other\) is not served\n {2}Served are: tiny@1\.0\.0\n/,
    );
  });

  it('ends when the port is in use', async (t) => {
    const other = createServer().listen(0, '127.0.0.1');
    t.after(() => other.close());
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as { port: number };
    assert.match(await refusal(t, { PORT: String(port) }), new RegExp(`Port ${port} is in use`));
  });

  it('lists all wrong settings at once', async (t) => {
    const said = await refusal(t, { PORT: 'http', LOG_LEVEL: 'loud', WORKERS: '0' });
    for (const name of ['PORT', 'LOG_LEVEL', 'WORKERS']) assert.match(said, new RegExp(`^ {2}${name} must be `, 'm'));
  });
});
