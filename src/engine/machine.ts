/** What of a machine decides how fast graphs run, so that figures of one are not taken for another's. */
import { createRequire } from 'node:module';
import { arch, cpus } from 'node:os';

import { type Static, Type } from 'typebox';

import { usableCpus } from './cpus.ts';
import type { ProviderOption } from './trial.ts';

export const MachineSchema = Type.Object(
  {
    cpu: Type.String({ description: 'Model of the processor, as the system names it' }),
    arch: Type.String(),
    usableCpus: Type.Integer({ minimum: 1, description: 'With affinity and quota' }),
    onnxruntime: Type.String(),
    executionProvider: Type.String(),
  },
  { additionalProperties: false },
);

export type Machine = Static<typeof MachineSchema>;

export function thisMachine(provider: ProviderOption): Machine {
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    arch: arch(),
    usableCpus: usableCpus(),
    onnxruntime: version,
    executionProvider: provider,
  };
}
