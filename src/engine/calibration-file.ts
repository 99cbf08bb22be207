/** What `calibrate` measured, as a file. */
import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';

import { type Static, Type } from 'typebox';

import { BundleError } from '../bundle/problem.ts';
import { createReader } from '../bundle/schema-check.ts';
import type { StatedGraph } from '../bundle/stated-graphs.ts';
import { CalibrationError } from './calibration-error.ts';
import { type Machine, MachineSchema } from './machine.ts';

const closed = { additionalProperties: false };
const setting = {
  workers: Type.Integer({ minimum: 1, maximum: 1_024 }),
  threads: Type.Integer({ minimum: 1, maximum: 1_024 }),
  batchTokens: Type.Integer({ minimum: 8, maximum: 1_048_576 }),
};

const CalibrationSchema = Type.Object(
  {
    schemaVersion: Type.Literal(1),
    createdAt: Type.String(),
    machine: MachineSchema,
    models: Type.Array(
      Type.Object(
        { name: Type.String(), version: Type.String(), graph: Type.String({ description: 'SHA-256' }) },
        closed,
      ),
      { minItems: 1 },
    ),
    prefer: Type.Union([Type.Literal('throughput'), Type.Literal('latency')]),
    choice: Type.Object(setting, closed),
    measured: Type.Array(
      Type.Object(
        {
          model: Type.String(),
          ...setting,
          tokensPerSecond: Type.Number({ description: 'Of all workers together, padding not counted' }),
          windowMs: Type.Number({ description: 'One window of the usual length, alone' }),
        },
        closed,
      ),
    ),
  },
  closed,
);

export type Calibration = Static<typeof CalibrationSchema>;

const read = createReader(CalibrationSchema);

/** @throws CalibrationError */
export async function readCalibration(file: string): Promise<Calibration> {
  try {
    return read(file, await readFile(file));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why = error instanceof BundleError ? error.message : `${file} cannot be read (${code ?? 'unknown error'})`;
    throw new CalibrationError(why);
  }
}

/** Whole or not at all: the file beside it takes its name when it is complete. @throws Error when it cannot be written */
export async function writeCalibration(file: string, calibration: Calibration): Promise<void> {
  const draft = `${file}.${randomUUID()}`;
  try {
    await writeFile(draft, `${JSON.stringify(calibration, null, 2)}\n`);
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/** @returns why a calibration says nothing about this machine and these graphs; undefined if it does */
export function unfitness(
  { machine, models }: Calibration,
  now: Machine,
  graphs: readonly Pick<StatedGraph, 'name' | 'version' | 'sha256'>[],
): string | undefined {
  for (const key of Object.keys(now) as (keyof Machine)[])
    if (machine[key] !== now[key]) return `it was measured with ${key} ${machine[key]}, and here it is ${now[key]}`;
  const measured = new Set(models.map(({ graph }) => graph));
  const names = new Set(
    graphs.filter(({ sha256 }) => measured.has(sha256)).map(({ name, version }) => `${name} ${version}`),
  );
  const missing = graphs.find(({ name, version }) => !names.has(`${name} ${version}`));
  return missing === undefined ? undefined : `${missing.name} ${missing.version} was not measured`;
}
