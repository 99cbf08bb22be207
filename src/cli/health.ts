/**
 * Asks the service on this machine whether it is well: exit 0 when it is. For containers, which have no curl.
 *
 *     node src/cli/health.ts [live|ready]
 *
 * Reads PORT, HOST and TLS_CERT_FILE as the service does.
 */
import { get as getPlain } from 'node:http';
import { get as getSecure } from 'node:https';

import { loadConfig } from '../config.ts';

/** Milliseconds; one more than this and whoever waits for the answer has given up as well. */
const TIMEOUT = 2_000;
/** Addresses to listen on that mean all of them, and are none to ask at. */
const EVERY = new Set(['0.0.0.0', '::', '']);

const question = process.argv[2] ?? 'live';
if (question !== 'live' && question !== 'ready') fail(`Ask for live or ready, not for ${question}.`);

const { host, port, tlsCertFile } = loadConfig(process.env);
const options = {
  host: EVERY.has(host) ? '127.0.0.1' : host,
  port,
  path: `/health/${question}`,
  timeout: TIMEOUT,
  // The certificate is for the name that clients know; this is the same machine.
  rejectUnauthorized: false,
};
const get = tlsCertFile === undefined ? getPlain : getSecure;
get(options, (response) => {
  response.resume();
  if (response.statusCode !== 200) fail(`/health/${question} answers ${response.statusCode}.`);
})
  .on('timeout', () => fail(`/health/${question} does not answer within ${TIMEOUT} ms.`))
  .on('error', ({ message }) => fail(`/health/${question} cannot be asked: ${message}`));

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
