/** The tensors that a model puts out, and their encoding in JSON or binary. */
import type { ServedModel } from '../../../engine/types.ts';
import type { Scored } from '../classified.ts';

interface OutputKind {
  readonly datatype: 'FP32' | 'BYTES';
  /** What each column means; undefined for a tensor of one dimension. */
  columns(model: ServedModel): readonly string[] | undefined;
  row(result: Scored): readonly number[] | readonly string[];
}

const OUTPUTS: Readonly<Record<string, OutputKind>> = {
  probabilities: {
    datatype: 'FP32',
    columns: ({ manifest }) => manifest.labels,
    row: ({ probabilities }) => probabilities,
  },
  label: { datatype: 'BYTES', columns: () => undefined, row: ({ label }) => [label] },
  offensive: { datatype: 'FP32', columns: () => undefined, row: ({ offensive }) => [offensive] },
  gates: {
    datatype: 'FP32',
    columns: ({ manifest }) => manifest.gates.map(({ layer, module }) => `${layer}.${module}`),
    row: ({ gates }) => gates,
  },
};

export interface OfferedOutput {
  readonly name: string;
  readonly kind: OutputKind;
  readonly columns: readonly string[] | undefined;
}

/** Without `gates` for a model that has none. */
export function offeredOutputs(model: ServedModel): readonly OfferedOutput[] {
  return Object.entries(OUTPUTS)
    .map(([name, kind]) => ({ name, kind, columns: kind.columns(model) }))
    .filter(({ columns }) => columns?.length !== 0);
}

export interface Tensor {
  readonly name: string;
  readonly datatype: 'FP32' | 'BYTES';
  readonly shape: readonly number[];
  /** Row by row. */
  readonly data: readonly (number | string)[];
}

export function outputTensor({ name, kind, columns }: OfferedOutput, results: readonly Scored[]): Tensor {
  return {
    name,
    datatype: kind.datatype,
    shape: columns === undefined ? [results.length] : [results.length, columns.length],
    data: results.flatMap((result) => [...kind.row(result)]),
  };
}

/**
 * The highest values of each row, as `value:index:name` (Triton, docs/protocol/extension_classification.md).
 *
 * @param output has columns
 */
export function classificationTensor(
  { name, kind }: OfferedOutput,
  columns: readonly string[],
  results: readonly Scored[],
  count: number,
): Tensor {
  const most = Math.min(count, columns.length);
  const best = (result: Scored) => {
    const row = kind.row(result) as readonly number[];
    const order = [...row.keys()].sort((one, other) => (row[other] as number) - (row[one] as number));
    return order.slice(0, most).map((index) => `${row[index]}:${index}:${columns[index]}`);
  };
  return { name, datatype: 'BYTES', shape: [results.length, most], data: results.flatMap(best) };
}

/** Little-endian; each text is its length as a uint32, then UTF-8. */
export function encodeBinary({ datatype, data }: Tensor): Buffer {
  if (datatype === 'FP32') {
    const bytes = Buffer.alloc(data.length * 4);
    for (const [index, value] of data.entries()) bytes.writeFloatLE(value as number, index * 4);
    return bytes;
  }
  return Buffer.concat(
    data.flatMap((text) => {
      const bytes = Buffer.from(text as string);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(bytes.length);
      return [length, bytes];
    }),
  );
}
