/** What a key may do, and how it is written where keys are kept: by name, with its scopes and its digest. */
import { createHash, randomBytes } from 'node:crypto';

/** `admin` and `metrics` do not include `classify`, nor each other: a key for everything names all three. */
export const SCOPES = ['classify', 'admin', 'metrics'] as const;
export type Scope = (typeof SCOPES)[number];

export interface ApiKey {
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  /** SHA-256 of the key. */
  readonly digest: Buffer;
}

/** So that a key is known for one where it turns up, by people and by scanners. */
const PREFIX = 'dsl_';
const ENTRY = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})=([a-z+]+):([0-9a-f]{64})$/;

const ENTRY_FORM = 'name=scope+scope:sha256';

/**
 * A fast hash does for keys: these have 256 random bits, which nobody can try out, and a slow one would be a way to keep
 * the service busy. Passwords, which people choose, would need it.
 */
export function digestOf(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

export function generateKey(): string {
  return PREFIX + randomBytes(32).toString('base64url');
}

/** @returns what the entry says, or what is wrong with it; the problem repeats nothing of it, since it might be a key */
export function parseEntry(entry: string): ApiKey | string {
  const found = ENTRY.exec(entry);
  if (found === null) return `must be ${ENTRY_FORM}, as \`npm run key\` prints it`;
  const [, name = '', list = '', digest = ''] = found;
  const names = list.split('+');
  const scopes = SCOPES.filter((scope) => names.includes(scope));
  if (scopes.length !== names.length) return `(${name}) must have scopes of ${SCOPES.join(', ')}, each once`;
  return { name, scopes: new Set(scopes), digest: Buffer.from(digest, 'hex') };
}

export function formatEntry({ name, scopes, digest }: ApiKey): string {
  return `${name}=${[...scopes].join('+')}:${digest.toString('hex')}`;
}
