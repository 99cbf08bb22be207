/** What the footer of a Parquet file says of one row group, as JSON: it must survive a restart. */
import type { RowGroup } from 'hyparquet';

import type { Note } from './table.ts';

/** Parquet counts in 64 bits, which JSON has no type for. */
const BIGINT = /^(-?\d+)n$/;

export function packRowGroup(group: RowGroup): Note {
  return JSON.parse(JSON.stringify(group, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value)));
}

export function unpackRowGroup(note: Note): RowGroup {
  return JSON.parse(JSON.stringify(note), (key, value: unknown) => {
    // Names of columns are the user's and may look like anything.
    if (typeof value !== 'string' || /^\d+$/.test(key)) return value;
    const digits = BIGINT.exec(value)?.[1];
    return digits === undefined ? value : BigInt(digits);
  }) as RowGroup;
}
