/**
 * Starts the service once, so that Node keeps what it has compiled and an image starts without compiling it again. A service
 * that does not start fails the build.
 *
 *     node scripts/image/compile.ts APP CACHE
 *
 * @param APP where the service lies in the image, since what is kept is kept by path
 * @param CACHE folder for what was compiled
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { settle } from './settle.ts';

/** Milliseconds; a build may run on an emulated processor. */
const TIMEOUT = 300_000;

const [app, cache] = process.argv.slice(2);
if (app === undefined || cache === undefined) throw new Error('Say where: node scripts/image/compile.ts APP CACHE');

const env = { NODE_COMPILE_CACHE: cache, HOST: '127.0.0.1', PORT: '0', DRAIN_DELAY_MS: '0', EXECUTION_PROVIDER: 'cpu' };
const service = spawn(process.execPath, ['src/main.ts'], { cwd: app, env, stdio: ['ignore', 'pipe', 'inherit'] });
const exited = once(service, 'exit');
const timeout = setTimeout(() => service.kill('SIGKILL'), TIMEOUT);
for await (const line of createInterface(service.stdout)) if (line.startsWith('Listening')) service.kill('SIGTERM');
const [code] = await exited;
clearTimeout(timeout);
if (code !== 0) throw new Error(`The service does not start and stop as it should: it ended with ${code}`);
await settle(cache, Number(process.env.SOURCE_DATE_EPOCH || '0'));
