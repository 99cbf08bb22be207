/** Errors in the shape of vLLM: {error: {message, type, param, code}}. */
import { Type } from 'typebox';

import { PROBLEMS } from '../../problems.ts';
import { statusPhrase } from '../../status-phrase.ts';
import { type ErrorShape, messageOf } from '../errors.ts';

/** Where vLLM has a name of its own; other statuses go by their HTTP phrase. */
const TYPES: Readonly<Record<number, string>> = {
  400: 'BadRequestError',
  404: 'NotFoundError',
  500: 'InternalServerError',
};

export const vllmError: ErrorShape = (problem) => {
  const { code, details } = problem;
  // Whatever is wrong with a body is a bad request there.
  const status = PROBLEMS[code].status === 422 ? 400 : PROBLEMS[code].status;
  const param = details.pointer?.split('/')[1] ?? null;
  const type = TYPES[status] ?? statusPhrase(status);
  return { status, body: { error: { message: messageOf(problem), type, param, code: status } } };
};

export const VllmErrorSchema = Type.Object(
  {
    error: Type.Object({
      message: Type.String(),
      type: Type.String(),
      param: Type.Union([Type.String(), Type.Null()], { description: 'The field at fault' }),
      code: Type.Integer({ description: 'The HTTP status' }),
    }),
  },
  { $id: 'VllmError', description: 'An error of vLLM' },
);
