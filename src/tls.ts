/** The certificate and its key, and how listeners learn of new ones. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Server } from 'node:net';
import { createSecureContext, type SecureContextOptions, Server as TlsServer } from 'node:tls';

export interface TlsFiles {
  /** Of a server that is to be made now. */
  options(): SecureContextOptions;
  /** The server is told of what is read later. */
  use(server: Server): void;
  /** Reads both files again. @throws TlsError, and then the present certificate stays */
  reload(): Promise<void>;
  /** When the present certificate ends. */
  expires(): Date;
}

export class TlsError extends Error {
  override readonly name = 'TlsError';
}

/** @throws TlsError for files that cannot be read or do not belong together */
export async function openTls(certFile: string, keyFile: string): Promise<TlsFiles> {
  let present = await readPair(certFile, keyFile);
  const servers: TlsServer[] = [];
  return {
    options: () => present.options,
    use: (server) => void (server instanceof TlsServer && servers.push(server)),
    async reload() {
      present = await readPair(certFile, keyFile);
      for (const server of servers) server.setSecureContext(present.options);
    },
    expires: () => present.expires,
  };
}

async function readPair(certFile: string, keyFile: string) {
  const [cert, key] = await Promise.all([read('TLS_CERT_FILE', certFile), read('TLS_KEY_FILE', keyFile)]);
  const options: SecureContextOptions = { cert, key, minVersion: 'TLSv1.2' };
  try {
    createSecureContext(options);
    return { options, expires: new X509Certificate(cert).validToDate };
  } catch (error) {
    // The library's code says which of the two is wrong; its message may not quote either.
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new TlsError(
      `TLS_CERT_FILE (${certFile}) and TLS_KEY_FILE (${keyFile}) must be a PEM certificate and its unencrypted PEM key (${code})`,
    );
  }
}

async function read(setting: string, path: string): Promise<Buffer> {
  return readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new TlsError(`${setting} (${path}) cannot be read (${error.code ?? 'unknown error'})`);
  });
}
