/** The kinds of settings there are, and how the text of an environment variable becomes a value of each. */
import { isIP } from 'node:net';

export type SettingValue =
  | string
  | number
  | readonly string[]
  | ReadonlyMap<string, string>
  | readonly object[]
  | undefined;

export interface Setting<T> {
  readonly env: string;
  readonly doc: string;
  readonly unit?: string;
  /** What holds when the variable is unset or empty. */
  readonly fallback: T;
  /** How the default is written in the documentation, where the value itself would say less. */
  readonly fallbackDoc?: string;
  /** The value is a secret: no message repeats it. */
  readonly sensitive?: boolean;
  /** What is accepted, as a phrase that follows "must be". */
  readonly accepts: string;
  /** The value that the text stands for; undefined when it stands for none. */
  read(text: string): T | undefined;
}

type Described<T> = Pick<Setting<T>, 'env' | 'doc' | 'fallback'> &
  Partial<Pick<Setting<T>, 'unit' | 'fallbackDoc' | 'accepts' | 'sensitive'>>;

export function text<T extends string | undefined>(setting: Described<T>): Setting<T | string> {
  return { accepts: 'a text', ...setting, read: (value) => value };
}

/** A fallback of undefined leaves the choice to what the setting is for. */
export function integer<T extends number | undefined>(
  setting: Described<T> & { min: number; max: number },
): Setting<T | number> {
  const { min, max } = setting;
  return {
    accepts: `a whole number from ${min} to ${max}`,
    ...setting,
    read(value) {
      if (!/^\d{1,15}$/.test(value)) return undefined;
      const number = Number(value);
      return number >= min && number <= max ? number : undefined;
    },
  };
}

export function choice<const T extends string>(setting: Described<NoInfer<T>> & { values: readonly T[] }): Setting<T> {
  return {
    accepts: `one of ${setting.values.join(', ')}`,
    ...setting,
    read: (value) => setting.values.find((known) => known === value),
  };
}

/** Names separated by commas; all of them by default, `none` for an empty list. */
export function list<const T extends string>(
  setting: Omit<Described<readonly T[]>, 'fallback'> & { values: readonly T[] },
): Setting<readonly T[]> {
  const { values } = setting;
  return {
    accepts: `none, or some of ${values.join(', ')}`,
    fallback: values,
    fallbackDoc: 'all',
    ...setting,
    read(value) {
      if (value === 'none') return [];
      const names = value.split(',').map((name) => name.trim());
      const known = names.flatMap((name) => values.find((own) => own === name) ?? []);
      return known.length === names.length ? known : undefined;
    },
  };
}

/** An http or https address without a query or credentials. */
export function address<T extends string | undefined>(setting: Described<T>): Setting<T | string> {
  return {
    accepts: 'an address like https://moderation.example.org',
    ...setting,
    read(value) {
      const url = URL.parse(value);
      const plain = url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.search === '';
      return plain && url.password === '' && url.hash === '' ? url.href : undefined;
    },
  };
}

/** Addresses and networks in CIDR notation, separated by commas; none by default. */
export function networks(setting: Omit<Described<readonly string[]>, 'fallback'>): Setting<readonly string[]> {
  return {
    accepts: 'addresses or networks like 10.0.0.0/8 or fd00::/8, separated by commas',
    fallback: [],
    fallbackDoc: 'none',
    ...setting,
    read(value) {
      const all = value.split(',').map((entry) => entry.trim());
      return all.every(isNetwork) ? all : undefined;
    },
  };
}

function isNetwork(entry: string): boolean {
  const [address = '', prefix, ...rest] = entry.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128));
}

/** Origins of web pages, separated by commas, or `*`; none by default. */
export function origins(setting: Omit<Described<readonly string[]>, 'fallback'>): Setting<readonly string[]> {
  return {
    accepts: '* or origins like https://forum.example.org, separated by commas',
    fallback: [],
    fallbackDoc: 'none',
    ...setting,
    read(value) {
      if (value === '*') return ['*'];
      const all = value.split(',').map((entry) => entry.trim());
      // As a browser writes it: no path, no slash at the end, lower case, no port that is the scheme's own.
      return all.every((entry) => /^https?:/.test(entry) && URL.parse(entry)?.origin === entry) ? all : undefined;
    },
  };
}

/** Entries separated by commas; undefined when one of them is not of the form. */
export function entries(value: string, form: RegExp): RegExpExecArray[] | undefined {
  const found = value.split(',').map((entry) => form.exec(entry.trim()));
  return found.every((entry) => entry !== null) ? found : undefined;
}
