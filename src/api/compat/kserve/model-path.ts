/** `/v2/models/NAME` with or without `/versions/VERSION`. */
import { Type } from 'typebox';

import type { Engine, ServedModel } from '../../../engine/types.ts';
import { Problem } from '../../problems.ts';

const model = Type.String({ description: 'Name, alias or `name@version` of a model' });

/** Both forms of the path; `suffix` keeps the names of their operations apart. */
export const MODEL_PATHS = [
  { path: '/v2/models/:model', suffix: '', params: Type.Object({ model }) },
  {
    path: '/v2/models/:model/versions/:version',
    suffix: 'Version',
    params: Type.Object({ model, version: Type.String() }),
  },
] as const;

interface ModelParams {
  readonly model: string;
  readonly version?: string;
}

/** As `Engine.find` takes it. */
export function referenceOf({ model, version }: ModelParams): string {
  return version === undefined ? model : `${model}@${version}`;
}

/** @throws Problem */
export function findModel(engine: Engine, params: ModelParams): ServedModel {
  const found = engine.find(referenceOf(params));
  if (found === undefined) throw new Problem('unknown_model');
  return found;
}
