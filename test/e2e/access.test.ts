/** Keys, certificates and ports of the real process: given at its start, changed while it serves, and wrong. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rename, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { connect } from 'node:tls';

import { digestOf } from '../../src/api/access/api-key.ts';
import { type Certificate, makeCertificate } from '../fixtures/certificate.ts';
import { refusal, startService, temporaryFolder, waitFor } from './service.ts';

const entry = (name: string, scopes: string) => `${name}=${scopes}:${digestOf(`key-of-${name}`).toString('hex')}`;
const bearer = (name: string) => ({ authorization: `Bearer key-of-${name}` });

describe('keys of the real process', () => {
  it('are taken from a file that changes, while a wrong one leaves what is there; they are in no output', async (t) => {
    const folder = await temporaryFolder(t);
    const file = join(folder, 'keys');
    await writeFile(file, `${entry('first', 'classify')}\n${entry('watcher', 'metrics')}\n`);
    const service = await startService(t, { API_KEYS_FILE: file, MODELS_POLL_MS: '50' });
    const status = async (name: string) => (await fetch(`${service.url}/models`, { headers: bearer(name) })).status;
    const becomes = (name: string, wanted: number) => until(async () => (await status(name)) === wanted);
    assert.deepEqual([await status('first'), await status('second'), await status('watcher')], [200, 401, 403]);

    await writeFile(`${file}.new`, `${entry('second', 'classify')}\n${entry('watcher', 'metrics')}\n`);
    await rename(`${file}.new`, file);
    await becomes('second', 200);
    assert.equal(await status('first'), 401);

    await writeFile(file, 'key-of-first\n');
    await waitFor(() => (service.output().includes('credentials were not taken') ? true : undefined));
    assert.equal(await status('second'), 200);
    const metrics = await (await fetch(`${service.url}/metrics`, { headers: bearer('watcher') })).text();
    assert.match(metrics, /^dslora_credential_reloads_total\{what="api_keys",outcome="refused"\} [1-9]/m);
    assert.equal((await fetch(`${service.url}/metrics`)).status, 401);
    assert.equal(await service.stop(), 0);
    assert.doesNotMatch(service.output(), /key-of-/);
  });

  it('are read again on SIGHUP where nothing is watched', async (t) => {
    const file = join(await temporaryFolder(t), 'keys');
    await writeFile(file, entry('first', 'classify'));
    const service = await startService(t, { API_KEYS_FILE: file, MODELS_POLL_MS: '0' });
    await writeFile(file, entry('second', 'classify'));
    service.process.kill('SIGHUP');
    await until(async () => (await fetch(`${service.url}/models`, { headers: bearer('second') })).status === 200);
  });

  it('end the start when they are wrong, without repeating them', async (t) => {
    const said = await refusal(t, { API_KEYS: 'key-of-first,b=root:00', API_KEYS_FILE: '/nowhere' });
    assert.match(said, /^The keys are wrong:\n {2}API_KEYS: entry 1 must be name=scope\+scope:sha256/m);
    assert.match(said, /API_KEYS: entry 2 /);
    assert.doesNotMatch(said, /key-of|root/);
    assert.match(await refusal(t, { API_KEYS_FILE: '/nowhere' }), /API_KEYS_FILE: \/nowhere cannot be read \(ENOENT\)/);
  });

  it('that are not there are warned of, where others can reach the service', async (t) => {
    const open = await startService(t, { HOST: '0.0.0.0' });
    assert.match(open.output(), /whoever reaches this address may classify/);
    const local = await startService(t, { HOST: '127.0.0.1' });
    assert.doesNotMatch(local.output(), /whoever reaches/);
  });
});

describe('a port of its own for operation, of the real process', () => {
  it('has the metrics; both are closed at the end', async (t) => {
    const service = await startService(t, { OPS_PORT: '0', OPS_HOST: '127.0.0.1' });
    const port = Number(/"port":(\d+)[^\n]*"metrics and administration"/.exec(service.output())?.[1]);
    assert.equal((await fetch(`http://127.0.0.1:${port}/metrics`)).status, 200);
    assert.equal((await fetch(`http://127.0.0.1:${port}/health/ready`)).status, 200);
    assert.equal((await fetch(`${service.url}/metrics`)).status, 404);
    assert.equal(await service.stop(), 0);
    await assert.rejects(fetch(`http://127.0.0.1:${port}/metrics`));
  });

  it('may not be one that is in use', async (t) => {
    const other = createServer().listen(0, '127.0.0.1');
    t.after(() => other.close());
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const said = await refusal(t, { OPS_PORT: String(port) });
    assert.match(said, new RegExp(`^Port ${port} is in use: end what listens on it, or set OPS_PORT\\.$`, 'm'));
  });
});

describe('TLS of the real process', () => {
  it('answers with a certificate that can be changed, and not below TLS 1.2', async (t) => {
    const folder = await temporaryFolder(t);
    const { cert, key } = makeCertificate(folder);
    const service = await startService(t, { TLS_CERT_FILE: cert, TLS_KEY_FILE: key, MODELS_POLL_MS: '0' });
    assert.match(service.url, /^https:/);
    const before = await shownBy(service.url);
    assert.equal(before.status, 200);
    await assert.rejects(oldHandshake(service.url), /protocol|version|alert/i);
    assert.equal(await plainHttp(service.url), undefined);

    const next = makeCertificate(folder, 'next');
    await replace(next, { cert, key });
    service.process.kill('SIGHUP');
    await until(async () => (await shownBy(service.url)).fingerprint !== before.fingerprint);

    // A key that does not belong to the certificate leaves what is there.
    const present = (await shownBy(service.url)).fingerprint;
    await rename(makeCertificate(folder, 'other').key, key);
    service.process.kill('SIGHUP');
    await waitFor(() => (service.output().includes('credentials were not taken') ? true : undefined));
    assert.equal((await shownBy(service.url)).fingerprint, present);
    assert.equal(await service.stop(), 0);
    assert.doesNotMatch(service.output(), /PRIVATE KEY/);
  });

  it('ends the start when a file is missing or wrong', async (t) => {
    const folder = await temporaryFolder(t);
    const { cert, key } = makeCertificate(folder);
    assert.match(await refusal(t, { TLS_CERT_FILE: cert }), /belong together/);
    assert.match(
      await refusal(t, { TLS_CERT_FILE: cert, TLS_KEY_FILE: `${key}.none` }),
      /TLS_KEY_FILE .* cannot be read \(ENOENT\)/,
    );
    await rm(key);
    await writeFile(key, 'SECRET');
    const said = await refusal(t, { TLS_CERT_FILE: cert, TLS_KEY_FILE: key });
    assert.match(said, /must be a PEM certificate and its unencrypted PEM key/);
    assert.doesNotMatch(said, /SECRET/);
  });
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end; ) {
    if (await condition().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`not so after 20 s: ${condition}`);
}

async function replace(from: Certificate, to: Certificate): Promise<void> {
  await rename(from.cert, to.cert);
  await rename(from.key, to.key);
}

/** Self-signed, so that its fingerprint is looked at and not who signed it. */
function shownBy(url: string): Promise<{ status: number | undefined; fingerprint: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(`${url}/health/live`, { rejectUnauthorized: false, agent: false }, (response) => {
      const { fingerprint256 } = (response.socket as import('node:tls').TLSSocket).getPeerCertificate();
      response.resume().once('end', () => resolve({ status: response.statusCode, fingerprint: fingerprint256 }));
    });
    asked.once('error', reject).end();
  });
}

function oldHandshake(url: string): Promise<void> {
  const { hostname, port } = new URL(url);
  // The client must be willing itself, which its library is only at the lowest level of security.
  const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' } as const;
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), rejectUnauthorized: false, ...old }, () => resolve());
    socket.once('error', reject);
  });
}

async function plainHttp(url: string): Promise<number | undefined> {
  return (await fetch(url.replace('https:', 'http:')).catch(() => undefined))?.status;
}
