/** How a run can end other than well. */
import { EngineError } from '../../engine/types.ts';

/** Exit codes of `dslora-classify`; a signal ends it with 128 and its number. */
export const EXIT = {
  /** Every row was read; rows that could not be classified are counted. */
  done: 0,
  /** It broke off. With an output file, the same command goes on where it stopped. */
  failed: 1,
  /** The command line, the input or the model does not fit: nothing was begun. */
  refused: 2,
  /** With --strict: a row could not be classified. */
  badRow: 3,
} as const;

/** The message says what was wrong, what was expected and what to do; it never repeats a row. */
export class BulkError extends Error {
  override readonly name = 'BulkError';
  readonly exitCode: number;

  constructor(exitCode: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

export function refuse(message: string): never {
  throw new BulkError(EXIT.refused, message);
}

/** Errors of the file system whose cause the user can remove. */
const SYSTEM: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: free some space',
  EDQUOT: 'the disk quota is used up: free some space',
  EFBIG: 'the file has grown beyond what this user or file system may write: raise the limit',
  EACCES: 'permission is denied: allow it for this user',
  EROFS: 'the file system is read-only: choose another place',
  ENOENT: 'there is no such file or folder: correct the path',
  EISDIR: 'it is a folder: name a file',
  EMFILE: 'too many files are open: raise the limit',
};

/** What happened, in words that hold nothing of the input. */
export function explain(error: unknown): string {
  if (error instanceof BulkError || error instanceof EngineError) return error.message;
  if (!(error instanceof Error)) return 'an unknown error';
  const { code, path, syscall } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return error.message;
  return `${path === undefined ? '' : `${path}: `}${SYSTEM[code] ?? code}`;
}
