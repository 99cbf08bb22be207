/**
 * The fields of a protocol buffer in a file, one after the other, without reading what they hold: a graph has gigabytes of
 * weights, and what is wrong with it must be known before a library in C++ sees it.
 * (protobuf.dev/programming-guides/encoding)
 */
import { readSync } from 'node:fs';

export class ProtobufError extends Error {
  override readonly name = 'ProtobufError';
}

/** `begin` and `end` are places in the file; of a number, `value` is it. */
export interface Field {
  readonly number: number;
  readonly wire: number;
  readonly begin: number;
  readonly end: number;
  /** Of a varint; negative ones are above 2^63. */
  readonly value: bigint;
}

const VARINT = 0;
export const LENGTH_DELIMITED = 2;
/** Bytes of the wire types of fixed size. */
const FIXED: Readonly<Record<number, number>> = { 1: 8, 5: 4 };

/** Bytes read at a time. */
const CHUNK = 64 * 1024;
/** Fields in a file. Large graphs have some hundred thousand; a file of nothing but fields must not keep the process busy. */
const MOST_FIELDS = 2_000_000;

export interface ProtobufFile {
  /** @throws ProtobufError for what is no message, from the place where it is none */
  fields(begin: number, end: number): Generator<Field>;
  /** A short string. @throws ProtobufError when it is longer than `most` bytes, or not UTF-8 */
  text(field: Field, most: number): string;
  /** Numbers of a packed field, or the one of a field that is not packed. */
  numbers(field: Field, most: number): bigint[];
}

export function openProtobuf(descriptor: number, size: number): ProtobufFile {
  const chunk = Buffer.allocUnsafe(CHUNK);
  let at = 0;
  let held = 0;
  let seen = 0;

  function byte(position: number): number {
    if (position >= size) throw new ProtobufError('ends within a field');
    if (position < at || position >= at + held) {
      at = position;
      held = readSync(descriptor, chunk, 0, CHUNK, position);
      if (held === 0) throw new ProtobufError('ends within a field');
    }
    return chunk[position - at] as number;
  }

  /** @returns the number and the place behind it */
  function varint(position: number, end: number): [bigint, number] {
    let value = 0;
    let high = 0n;
    for (let i = 0; i < 10; i++) {
      if (position + i >= end) throw new ProtobufError('ends within a number');
      const part = byte(position + i);
      // 28 bits are whole in a JavaScript number; the rest is rare.
      if (i < 4) value |= (part & 0x7f) << (7 * i);
      else high |= BigInt(part & 0x7f) << BigInt(7 * i);
      if (part < 0x80) return [BigInt(value) | high, position + i + 1];
    }
    throw new ProtobufError('has a number of more than ten bytes');
  }

  function* fields(begin: number, end: number): Generator<Field> {
    for (let position = begin; position < end; ) {
      seen += 1;
      if (seen > MOST_FIELDS) throw new ProtobufError(`has more than ${MOST_FIELDS} fields`);
      const [tag, behindTag] = varint(position, end);
      const number = Number(tag >> 3n);
      const wire = Number(tag & 7n);
      if (number === 0) throw new ProtobufError('has a field without a number');
      let from = behindTag;
      let value = 0n;
      let to: number;
      if (wire === VARINT) [value, to] = varint(from, end);
      else if (wire === LENGTH_DELIMITED) {
        const [length, behind] = varint(from, end);
        from = behind;
        to = behind + Number(length);
      } else {
        const fixed = FIXED[wire];
        if (fixed === undefined) throw new ProtobufError(`has a field of the unknown kind ${wire}`);
        to = from + fixed;
      }
      if (to > end) throw new ProtobufError('has a field that is longer than what it is part of');
      yield { number, wire, begin: from, end: to, value };
      position = to;
    }
  }

  return {
    fields,
    text({ begin, end, wire }, most) {
      if (wire !== LENGTH_DELIMITED) throw new ProtobufError('has a number where a string belongs');
      if (end - begin > most) throw new ProtobufError(`has a name of ${end - begin} bytes`);
      const bytes = Buffer.alloc(end - begin);
      readSync(descriptor, bytes, 0, bytes.length, begin);
      try {
        return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
      } catch {
        throw new ProtobufError('has a name that is not UTF-8');
      }
    },
    numbers({ begin, end, wire, value }, most) {
      if (wire === VARINT) return [value];
      if (wire !== LENGTH_DELIMITED) throw new ProtobufError('has fixed numbers where others belong');
      const found: bigint[] = [];
      for (let position = begin; position < end; ) {
        const [number, behind] = varint(position, end);
        found.push(number);
        if (found.length > most) throw new ProtobufError(`has a list of more than ${most} numbers`);
        position = behind;
      }
      return found;
    },
  };
}
