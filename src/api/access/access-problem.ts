/** Why a client may not do what it asked for. Protocols that tell these apart in words of their own look at `reason`. */
import { Problem } from '../problems.ts';
import type { Scope } from './api-key.ts';

/** `missing`: no key was sent. `unknown`: one that is none. `scope`: a key that may not do this. */
export type AccessReason = 'missing' | 'unknown' | 'scope';

const REALM = 'Bearer realm="ds-lora"';

export class AccessProblem extends Problem {
  readonly reason: AccessReason;

  constructor(reason: AccessReason, scope: Scope) {
    super(reason === 'scope' ? 'forbidden' : 'unauthorized', {
      ...(reason === 'scope' ? { detail: `This needs a key with the scope \`${scope}\`.` } : {}),
      headers: { 'www-authenticate': challenge(reason, scope) },
    });
    this.reason = reason;
  }
}

/** As RFC 6750, section 3, has it. */
function challenge(reason: AccessReason, scope: Scope): string {
  if (reason === 'missing') return REALM;
  return reason === 'unknown'
    ? `${REALM}, error="invalid_token"`
    : `${REALM}, error="insufficient_scope", scope="${scope}"`;
}
