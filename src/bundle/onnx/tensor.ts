/** One stored tensor of a graph: its size must be that of its values, and these must be in the graph or in a listed file. */
import type { Field, ProtobufFile } from './protobuf.ts';

/** Field numbers of TensorProto (onnx/onnx.proto). */
const DIMS = 1;
const DATA_TYPE = 2;
const NAME = 8;
const RAW_DATA = 9;
const EXTERNAL_DATA = 13;
const DATA_LOCATION = 14;
/** Values that are not raw: float, int32, string, int64, double, uint64. */
const TYPED_DATA: ReadonlySet<number> = new Set([4, 5, 6, 7, 10, 11]);
/** Of StringStringEntryProto. */
const KEY = 1;
const VALUE = 2;

const STRING = 8;
/** Bits of one value, by `TensorProto.DataType`. */
const BITS: Readonly<Record<number, number>> = {
  1: 32,
  2: 8,
  3: 8,
  4: 16,
  5: 16,
  6: 32,
  7: 64,
  9: 8,
  10: 16,
  11: 64,
  12: 32,
  13: 64,
  14: 64,
  15: 128,
  16: 16,
  17: 8,
  18: 8,
  19: 8,
  20: 8,
  21: 4,
  22: 4,
  23: 4,
  24: 8,
  25: 2,
  26: 2,
};

const MOST_DIMENSIONS = 16;
/** Bytes of a name, and of what says where values are. */
const LONGEST_NAME = 1024;
/** Values in one byte at most: of four bits each, two; some allowance for how they are packed. */
const DENSEST = 8n;
/** 2^63: a varint from here on stands for a negative number. */
const NEGATIVE = 2n ** 63n;

/** @param externals sizes in bytes of the files that the manifest lists for the graph @returns what is wrong with it */
export function checkTensor(
  file: ProtobufFile,
  tensor: Field,
  externals: ReadonlyMap<string, number>,
): readonly string[] {
  const dims: bigint[] = [];
  const external = new Map<string, string>();
  let type = 0;
  let name = '';
  let raw: number | undefined;
  let typed = 0;
  let elsewhere = false;
  for (const field of file.fields(tensor.begin, tensor.end)) {
    const bytes = field.end - field.begin;
    if (field.number === DIMS) dims.push(...file.numbers(field, MOST_DIMENSIONS));
    else if (field.number === DATA_TYPE) type = Number(field.value);
    else if (field.number === NAME) name = file.text(field, LONGEST_NAME);
    else if (field.number === RAW_DATA) raw = bytes;
    else if (field.number === DATA_LOCATION) elsewhere = field.value !== 0n;
    else if (field.number === EXTERNAL_DATA) readEntry(file, field, external);
    else if (TYPED_DATA.has(field.number)) typed += bytes;
  }
  const called = `tensor ${shown(name)}`;
  if (dims.length > MOST_DIMENSIONS) return [`${called} has ${dims.length} dimensions, at most ${MOST_DIMENSIONS}`];
  if (dims.some((dim) => dim >= NEGATIVE)) return [`${called} has a negative dimension`];
  const values = dims.reduce((product, dim) => product * dim, 1n);
  const bits = BITS[type];
  if (bits === undefined && type !== STRING) return [`${called} has the unknown data type ${type}`];
  const expected = (values * BigInt(bits ?? 0) + 7n) / 8n;
  if (elsewhere || external.size > 0) {
    if (!elsewhere || raw !== undefined || typed > 0) return [`${called} has values both here and elsewhere`];
    return checkExternal(called, external, expected, externals);
  }
  if (raw !== undefined && type !== STRING)
    return BigInt(raw) === expected ? [] : [`${called} has ${raw} bytes of values, its dimensions need ${expected}`];
  return values <= BigInt(typed) * DENSEST ? [] : [`${called} has fewer values than its dimensions (${values}) need`];
}

function readEntry(file: ProtobufFile, entry: Field, into: Map<string, string>): void {
  let key = '';
  let value = '';
  for (const field of file.fields(entry.begin, entry.end)) {
    if (field.number === KEY) key = file.text(field, LONGEST_NAME);
    else if (field.number === VALUE) value = file.text(field, LONGEST_NAME);
  }
  into.set(key, value);
}

function checkExternal(
  called: string,
  entries: ReadonlyMap<string, string>,
  expected: bigint,
  externals: ReadonlyMap<string, number>,
): readonly string[] {
  const location = entries.get('location') ?? '';
  // Only names that the manifest lists, and those are plain: no path, no way out of the folder.
  const size = externals.get(location);
  if (size === undefined)
    return [`${called} has its values in ${shown(location)}, which externalData of the graph does not list`];
  const [offset, length] = [entries.get('offset') ?? '0', entries.get('length') ?? String(expected)];
  if (!/^\d{1,18}$/.test(offset) || !/^\d{1,18}$/.test(length))
    return [`${called} has values at a place that is no number`];
  if (BigInt(length) !== expected) return [`${called} has ${length} bytes of values, its dimensions need ${expected}`];
  return BigInt(offset) + BigInt(length) <= BigInt(size)
    ? []
    : [`${called} has values beyond the end of ${location}, which has ${size} bytes`];
}

/** What a graph calls something: not more of it than a person needs, and nothing that a terminal obeys. */
export function shown(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);
}
