import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { ConfigError, configTable, loadConfig, SETTINGS } from '../../src/config.ts';

describe('configuration', () => {
  it('has a default for every setting', () => {
    const config = loadConfig({});
    assert.deepEqual(Object.keys(config), Object.keys(SETTINGS));
    assert.deepEqual(
      [config.host, config.port, config.modelsDir, config.defaultModel],
      ['0.0.0.0', 8080, 'models', undefined],
    );
  });

  it('reads the environment', () => {
    const config = loadConfig({
      PORT: '0',
      DEFAULT_MODEL: 'x',
      EXECUTION_PROVIDER: 'cpu',
      WORKERS: '3',
      HOST: ' ::1 ',
    });
    assert.deepEqual(
      [config.port, config.defaultModel, config.executionProvider, config.workers, config.host],
      [0, 'x', 'cpu', 3, '::1'],
    );
  });

  it('takes an empty variable as unset', () => {
    assert.deepEqual(loadConfig({ PORT: '', WORKERS: '  ' }), loadConfig({}));
  });

  it('lists every wrong setting at once, each with what it accepts', () => {
    assert.throws(
      () => loadConfig({ PORT: '65536', LOG_LEVEL: 'loud', MAX_TEXTS: '0', DRAIN_DELAY_MS: '1e3', BATCH_TOKENS: '-1' }),
      (error) => {
        assert.ok(error instanceof ConfigError);
        assert.deepEqual(
          error.problems,
          [
            'LOG_LEVEL must be one of trace, debug, info, warn, error, fatal, silent, got "loud"',
            'PORT must be a whole number from 0 to 65535, got "65536"',
            'MAX_TEXTS must be a whole number from 1 to 10000, got "0"',
            'BATCH_TOKENS must be a whole number from 8 to 1048576, got "-1"',
            'DRAIN_DELAY_MS must be a whole number from 0 to 600000, got "1e3"',
          ].sort((one, other) => order(one) - order(other)),
        );
        return true;
      },
    );
  });

  it('reads aliases and shadows', () => {
    const { aliases, shadows } = loadConfig({
      ALIASES: 'stable=olid@1.0.0, olid=olid@1.0.0+b,next=olid',
      SHADOW: 'olid=olid@1.1.0:0.1,stable=other:1',
    });
    assert.deepEqual(
      [...aliases],
      [
        ['stable', 'olid@1.0.0'],
        ['olid', 'olid@1.0.0+b'],
        ['next', 'olid'],
      ],
    );
    assert.deepEqual(shadows, [
      { model: 'olid', shadow: 'olid@1.1.0', share: 0.1 },
      { model: 'stable', shadow: 'other', share: 1 },
    ]);
    for (const wrong of ['stable', 'a@1=b', 'a=b@', 'a=b,a=c', 'a=b,', '=b', 'a b=c'])
      assert.throws(() => loadConfig({ ALIASES: wrong }), /ALIASES must be /, wrong);
    for (const wrong of ['a=b', 'a=b:2', 'a=b:-0.1', 'a=b:1e-3', 'a:0.1', 'a=b:0.1,'])
      assert.throws(() => loadConfig({ SHADOW: wrong }), /SHADOW must be /, wrong);
  });

  it('reads networks and origins', () => {
    const { trustProxy, corsOrigins } = loadConfig({
      TRUST_PROXY: '10.0.0.0/8, 192.0.2.1,fd00::/8',
      CORS_ORIGINS: 'https://forum.example.org,http://127.0.0.1:3000',
    });
    assert.deepEqual(trustProxy, ['10.0.0.0/8', '192.0.2.1', 'fd00::/8']);
    assert.deepEqual(corsOrigins, ['https://forum.example.org', 'http://127.0.0.1:3000']);
    for (const wrong of ['true', '10.0.0.0/33', '10.0.0', 'fd00::/129', '10.0.0.0/8/8', '10.0.0.0/', '10.0.0.1,'])
      assert.throws(() => loadConfig({ TRUST_PROXY: wrong }), /TRUST_PROXY must be /, wrong);
    for (const wrong of ['forum.example.org', 'https://a.example/', 'https://a.example/x', 'https://A.example', 'null'])
      assert.throws(() => loadConfig({ CORS_ORIGINS: wrong }), /CORS_ORIGINS must be /, wrong);
  });

  it('documents every setting', () => {
    const table = configTable();
    for (const { env } of Object.values(SETTINGS)) assert.ok(table.includes(`| \`${env}\` |`), env);
  });
});

/** Problems come in the order of the table of settings. */
function order(problem: string): number {
  return Object.values(SETTINGS).findIndex(({ env }) => problem.startsWith(`${env} `));
}
