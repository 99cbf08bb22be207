/**
 * Starts the service once, so that Node keeps what it has compiled and an image starts without compiling it again. A service
 * that does not start fails the build.
 *
 *     node scripts/image/compile.ts APP CACHE USER
 *
 * @param APP where the service lies in the image, since what is kept is kept by path
 * @param CACHE folder for what was compiled
 * @param USER number of the user who will start it: Node has a folder for each, and others compile again
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { settle } from './settle.ts';

/** Milliseconds; a build may run on an emulated processor. */
const TIMEOUT = 300_000;

const [app, cache, user] = process.argv.slice(2);
if (app === undefined || cache === undefined || user === undefined)
  throw new Error('Say where and for whom: node scripts/image/compile.ts APP CACHE USER');

const env = { NODE_COMPILE_CACHE: cache, HOST: '127.0.0.1', PORT: '0', DRAIN_DELAY_MS: '0', EXECUTION_PROVIDER: 'cpu' };
const service = spawn(process.execPath, ['src/main.ts'], { cwd: app, env, stdio: ['ignore', 'pipe', 'inherit'] });
const exited = once(service, 'exit');
const timeout = setTimeout(() => service.kill('SIGKILL'), TIMEOUT);
for await (const line of createInterface(service.stdout)) if (line.startsWith('Listening')) service.kill('SIGTERM');
const [code] = await exited;
clearTimeout(timeout);
if (code !== 0) throw new Error(`The service does not start and stop as it should: it ended with ${code}`);
// The folder's name: version, architecture and settings of V8, then the user, who here is the one that builds.
const own = new RegExp(`-${process.getuid?.()}$`);
for (const folder of await readdir(cache))
  await rename(join(cache, folder), join(cache, folder.replace(own, `-${user}`)));
await settle(cache, Number(process.env.SOURCE_DATE_EPOCH || '0'));
