/** Texts out of a BYTES tensor, in JSON or in binary. Nothing is set aside for a size before the bytes are there. */
import { TextDecoder } from 'node:util';

import { type Static, Type } from 'typebox';

import type { TextLimits } from '../../classify-request.ts';
import { codePoints } from '../../code-points.ts';
import { Problem } from '../../problems.ts';

export const InputTensor = Type.Object({
  name: Type.String({ description: 'Any; there is one input' }),
  shape: Type.Array(Type.Integer({ minimum: 0 }), { description: '`[texts]` or `[texts, 1]`' }),
  datatype: Type.String({ description: '`BYTES`' }),
  parameters: Type.Optional(
    Type.Object({
      binary_data_size: Type.Optional(
        Type.Integer({
          minimum: 0,
          description:
            'Bytes of the tensor after the JSON; each text is its length as a little-endian uint32, then UTF-8',
        }),
      ),
    }),
  ),
  data: Type.Optional(Type.Array(Type.Unknown(), { description: 'The texts, flat or nested as `shape`' })),
});

const LENGTH_BYTES = 4;

/**
 * @param binary what follows the JSON
 * @throws Problem
 */
export function readTexts(tensor: Static<typeof InputTensor>, binary: Buffer, limits: TextLimits): readonly string[] {
  const { shape, datatype, parameters, data } = tensor;
  if (datatype !== 'BYTES') throw wrong('datatype', 'The datatype must be BYTES.');
  if (parameters !== undefined && 'shared_memory_region' in parameters) {
    throw wrong('parameters', 'Shared memory is not offered; send the data.');
  }
  const count = countOf(shape, limits.maxTexts);
  const size = parameters?.binary_data_size;
  if ((size === undefined) === (data === undefined)) {
    throw wrong('data', 'Either `data` or the parameter `binary_data_size` must be given.');
  }
  if (binary.length !== (size ?? 0)) {
    throw wrong('parameters', `\`binary_data_size\` is ${size ?? 0}, but ${binary.length} bytes follow the JSON.`);
  }
  const texts = data === undefined ? decodeTexts(binary, count) : flatTexts(data, count);
  const long = texts.findIndex((text) => codePoints(text) > limits.maxTextChars);
  if (long === -1) return texts;
  throw new Problem('text_too_long', {
    detail: `A text may have at most ${limits.maxTextChars} characters.`,
    pointer: elementPointer(long),
  });
}

export function elementPointer(index: number): string {
  return `/inputs/0/data/${index}`;
}

function countOf(shape: readonly number[], maxTexts: number): number {
  const [count, width = 1, ...rest] = shape;
  if (count === undefined || width !== 1 || rest.length > 0) {
    throw wrong('shape', 'The shape must be [texts] or [texts, 1].');
  }
  if (count === 0)
    throw new Problem('no_texts', { detail: 'There must be at least one text.', pointer: pointer('shape') });
  if (count <= maxTexts) return count;
  throw new Problem('too_many_texts', {
    detail: `A request may have at most ${maxTexts} texts.`,
    pointer: pointer('shape'),
  });
}

function flatTexts(data: readonly unknown[], count: number): readonly string[] {
  if (data.length !== count) throw wrong('data', `The shape says ${count} elements, but there are ${data.length}.`);
  const texts = data.map((entry) => (Array.isArray(entry) && entry.length === 1 ? entry[0] : entry));
  if (texts.every((text) => typeof text === 'string')) return texts;
  throw wrong('data', 'Elements must be texts.');
}

function decodeTexts(binary: Buffer, count: number): readonly string[] {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const texts: string[] = [];
  let offset = 0;
  for (let index = 0; index < count; index += 1) {
    const start = offset + LENGTH_BYTES;
    const end = start <= binary.length ? start + binary.readUInt32LE(offset) : Number.POSITIVE_INFINITY;
    if (end > binary.length) throw wrong('data', `The binary data ends within element ${index} of ${count}.`);
    texts.push(decodeText(decoder, binary.subarray(start, end), index));
    offset = end;
  }
  if (offset === binary.length) return texts;
  throw wrong('data', `The shape says ${count} elements, but ${binary.length - offset} bytes are left after them.`);
}

function decodeText(decoder: TextDecoder, bytes: Buffer, index: number): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new Problem('invalid_utf8', { detail: 'An element is not UTF-8.', pointer: elementPointer(index) });
  }
}

function pointer(field: string): string {
  return `/inputs/0/${field}`;
}

function wrong(field: string, detail: string): Problem {
  return new Problem('invalid_body', { detail, pointer: pointer(field) });
}
