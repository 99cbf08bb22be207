/** Keys and certificate of the process: read at its start, read again when their files change, and each outcome told. */
import type { FastifyBaseLogger } from 'fastify';

import { createKeyRing, type KeyRing, KeysError } from './api/access/key-ring.ts';
import type { Config } from './config.ts';
import type { Metrics } from './observability/metrics.ts';
import { openTls, TlsError, type TlsFiles } from './tls.ts';

export interface Credentials {
  readonly keys: KeyRing;
  /** Absent where the service speaks plain HTTP. */
  readonly tls: TlsFiles | undefined;
  /** Files that they are read from. */
  readonly files: readonly string[];
  /** What cannot be read leaves what is there; does not throw. */
  reload(): Promise<void>;
}

/** @throws KeysError or TlsError for what is wrong at the start */
export async function openCredentials(
  config: Config,
  logger: FastifyBaseLogger,
  metrics: Pick<Metrics, 'credentials'>,
): Promise<Credentials> {
  const { apiKeysFile, tlsCertFile, tlsKeyFile } = config;
  const keys = createKeyRing(config);
  await keys.reload();
  const tls = await openTlsOf(config);
  if (tls !== undefined) logger.info({ expires: tls.expires() }, 'certificate');
  if (!isLoopback(config.host) && !keys.required('classify'))
    logger.warn({ host: config.host }, 'whoever reaches this address may classify: API_KEYS_FILE would ask for keys');

  async function attempt(what: 'api_keys' | 'tls', read: () => Promise<void>): Promise<void> {
    try {
      await read();
      metrics.credentials(what, 'taken');
      logger.info({ what, ...(what === 'tls' ? { expires: tls?.expires() } : {}) }, 'credentials were read again');
    } catch (error) {
      metrics.credentials(what, 'refused');
      // Neither repeats what is in a file.
      const problem = error instanceof KeysError || error instanceof TlsError ? error.message : 'unexpected error';
      logger.error({ what, problem }, 'credentials were not taken; the present ones stay');
    }
  }

  return {
    keys,
    tls,
    files: [apiKeysFile, tlsCertFile, tlsKeyFile].filter((file) => file !== undefined),
    async reload() {
      if (apiKeysFile !== undefined) await attempt('api_keys', keys.reload);
      if (tls !== undefined) await attempt('tls', tls.reload);
    },
  };
}

async function openTlsOf({ tlsCertFile, tlsKeyFile }: Config): Promise<TlsFiles | undefined> {
  if (tlsCertFile === undefined && tlsKeyFile === undefined) return undefined;
  if (tlsCertFile === undefined || tlsKeyFile === undefined)
    throw new TlsError('TLS_CERT_FILE and TLS_KEY_FILE belong together: set both, or neither for plain HTTP.');
  return openTls(tlsCertFile, tlsKeyFile);
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
