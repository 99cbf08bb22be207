/** The keys that are valid now: of API_KEYS, API_KEYS_FILE and ADMIN_KEY. */
import { timingSafeEqual } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';

import { type ApiKey, digestOf, parseEntry, type Scope } from './api-key.ts';

export interface KeyRing {
  /** Whether routes of this scope ask for a key at all. */
  required(scope: Scope): boolean;
  /** Whether there can be a key for administration, so that its routes exist. */
  readonly administered: boolean;
  /** The key that a client sent; takes as long whichever it is. */
  find(given: string): ApiKey | undefined;
  /** Reads API_KEYS_FILE again. @throws KeysError, and then the present keys stay */
  reload(): Promise<void>;
}

/** All that is wrong with the keys, one line each. */
export class KeysError extends Error {
  override readonly name = 'KeysError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

export interface KeySettings {
  readonly adminKey?: string | undefined;
  readonly apiKeys?: string | undefined;
  readonly apiKeysFile?: string | undefined;
}

/** Bytes. Thousands of keys; what is larger is another file. */
const LARGEST_FILE = 1024 * 1024;

/**
 * Without what API_KEYS_FILE holds, which `reload` reads.
 *
 * @throws KeysError when API_KEYS is wrong
 */
export function createKeyRing({ adminKey, apiKeys, apiKeysFile }: KeySettings): KeyRing {
  const fixed = checked([...ofAdministrator(adminKey), ...ofSetting(apiKeys)]);
  let keys: readonly ApiKey[] = fixed;
  const configured = apiKeys !== undefined || apiKeysFile !== undefined;
  return {
    administered: configured || adminKey !== undefined,
    required: (scope) => configured || scope === 'admin',
    find(given) {
      const digest = digestOf(given);
      let found: ApiKey | undefined;
      // To the end, also when it is found.
      for (const key of keys) if (timingSafeEqual(key.digest, digest)) found = key;
      return found;
    },
    async reload() {
      if (apiKeysFile !== undefined) keys = checked([...fixed, ...(await ofFile(apiKeysFile))]);
    },
  };
}

/** An entry, or what is wrong with it. */
type Read = ApiKey | string;

function ofAdministrator(adminKey: string | undefined): Read[] {
  if (adminKey === undefined) return [];
  return [{ name: 'ADMIN_KEY', scopes: new Set(['admin'] as const), digest: digestOf(adminKey) }];
}

function ofSetting(apiKeys: string | undefined): Read[] {
  return (apiKeys?.split(',') ?? []).map((entry, i) => named(`API_KEYS: entry ${i + 1}`, parseEntry(entry.trim())));
}

async function ofFile(path: string): Promise<Read[]> {
  let content: string;
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new KeysError([`API_KEYS_FILE: ${path} is not a plain file`]);
    if (found.size > LARGEST_FILE) throw new KeysError([`API_KEYS_FILE: ${path} has ${found.size} bytes: too many`]);
    content = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof KeysError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new KeysError([`API_KEYS_FILE: ${path} cannot be read (${code})`]);
  }
  const entries = content.split('\n').flatMap((line, i): Read[] => {
    const entry = line.trim();
    if (entry === '' || entry.startsWith('#')) return [];
    return [named(`API_KEYS_FILE: line ${i + 1}`, parseEntry(entry))];
  });
  // An empty file is more likely half written than meant: it would shut everybody out.
  return entries.length > 0 ? entries : ['API_KEYS_FILE: there is no key in it'];
}

function named(place: string, read: Read): Read {
  return typeof read === 'string' ? `${place} ${read}` : read;
}

function checked(all: readonly Read[]): readonly ApiKey[] {
  const problems = all.filter((one) => typeof one === 'string');
  const keys = all.filter((one) => typeof one !== 'string');
  for (const [i, { name, digest }] of keys.entries()) {
    const before = keys.slice(0, i);
    if (before.some((other) => other.name === name)) problems.push(`Two keys are named ${name}`);
    const twin = before.find((other) => other.digest.equals(digest));
    if (twin !== undefined) problems.push(`${twin.name} and ${name} are the same key`);
  }
  if (problems.length > 0) throw new KeysError(problems);
  return keys;
}
