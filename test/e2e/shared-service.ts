/** One process of the service for several tests: for those that neither change it nor count what it has done. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { type Service, startService } from './service.ts';

/** Starts it before the tests of the `describe` or file that this is called in. @returns it, once they run */
export function sharedService(env: Readonly<Record<string, string>> = {}): () => Service {
  const ends: (() => unknown)[] = [];
  let service: Service | undefined;
  before(async () => {
    service = await startService({ after: (end: unknown) => void ends.push(end as () => unknown) }, env);
  });
  after(async () => {
    for (const end of ends) await end();
  });
  return () => service ?? assert.fail('the service was not started');
}
