/**
 * Writes `src/moderation/policy.schema.json` from policy.ts.
 *
 *     npm run schema                                    write it, and the bundle's
 *     node scripts/write-policy-schema.ts --check       exit 1 when the committed file differs
 */
import { PolicySchema } from '../src/moderation/policy.ts';
import { keepGenerated } from './generated-file.ts';

const target = new URL('../src/moderation/policy.schema.json', import.meta.url);
await keepGenerated(target, 'npm run schema', () => `${JSON.stringify(PolicySchema, null, 2)}\n`);
