/** A foreign protocol's routes on the fake engine; every answer must be as documented, in the protocol's own media type. */
import assert from 'node:assert/strict';

import type { Config } from '../../../src/config.ts';
import { buildTestApp } from '../build-test-app.ts';
import { assertDocumented } from '../documented.ts';

/** Stands in bad bodies, and nowhere in an answer or a log. */
export const MARK = 'Qzxv-marked';

export interface Asked {
  readonly status: number;
  /** Parsed where it is JSON. */
  readonly body: unknown;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly bytes: Buffer;
}

export async function foreignApp(settings: Partial<Config> = {}) {
  const test = await buildTestApp(settings);
  /** @param path as the OpenAPI document has it, where it differs from the address */
  async function ask(method: 'GET' | 'POST', url: string, payload?: unknown, options: AskOptions = {}): Promise<Asked> {
    const raw = payload === undefined || typeof payload === 'string' || Buffer.isBuffer(payload);
    const answer = await test.app.inject({
      method,
      url,
      headers: { ...(payload === undefined ? {} : { 'content-type': 'application/json' }), ...options.headers },
      ...(payload === undefined ? {} : { payload: raw ? payload : JSON.stringify(payload) }),
    });
    const body = assertDocumented(answer, method, options.path ?? url);
    if (answer.statusCode >= 400) {
      assert.equal(String(answer.headers['content-type']).split(';')[0], options.errorType ?? 'application/json');
    }
    return { status: answer.statusCode, body, headers: answer.headers, bytes: answer.rawPayload };
  }
  return { ...test, ask };
}

interface AskOptions {
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly errorType?: string;
}
