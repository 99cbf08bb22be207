import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { announce } from '../../src/announcement.ts';
import { createFakeEngine } from './fake-engine.ts';

describe('announcement', () => {
  it('says where, which models, what is refused, and one line to paste', () => {
    assert.equal(
      announce(createFakeEngine(), { scheme: 'http', host: '0.0.0.0', port: 8080 }),
      `Listening on http://127.0.0.1:8080 (host 0.0.0.0). Models:
  gated 1.2.3 (int8, cpu), default
  plain 1.2.3 (int8, cpu)
Refused bundles:
  broken: model.onnx has another checksum
Try it:
  curl -s http://127.0.0.1:8080/classify -H 'content-type: application/json' -d '{"text": "Have a lovely day, everyone."}'
`,
    );
  });

  it('names an address that can be called', () => {
    const addressFor = (host: string) =>
      /http:\S+/.exec(announce(createFakeEngine(), { scheme: 'http', host, port: 1 }))?.[0];
    assert.equal(addressFor('::'), 'http://[::1]:1');
    assert.equal(addressFor('::1'), 'http://[::1]:1');
    assert.equal(addressFor('10.0.0.1'), 'http://10.0.0.1:1');
  });
});
