/**
 * `GET /`: a page to try the models on, and its files under `/ui/<hash>/`.
 *
 * The page itself is asked for again each time; its files have the hash of all of them in their address and may be kept
 * for ever. It loads nothing from elsewhere, and the policy that says so holds for this page alone.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { FastifyInstance } from 'fastify';

import { scopeRoutes } from './access/guard.ts';
import { Problem } from './problems.ts';

const FOLDER = new URL('../ui/', import.meta.url);
const PAGE = 'index.html';

/** What browsers need and is not written here: a package's build for them. */
const FROM_PACKAGES: Readonly<Record<string, string>> = {
  'csv-parse.js': 'csv-parse/browser/esm/sync',
};

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-cache',
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'x-frame-options': 'DENY',
};

const ASSET_HEADERS = { 'cache-control': 'public, max-age=31536000, immutable' };

export async function playgroundRoutes(app: FastifyInstance): Promise<void> {
  // The page asks for a key where one is needed.
  scopeRoutes(app, 'open');
  const { page, assets, hash } = await readFiles();
  const etag = `"${hash}"`;
  const hidden = { schema: { hide: true } };

  app.get('/', hidden, async (request, reply) => {
    reply.headers({ ...PAGE_HEADERS, etag });
    return request.headers['if-none-match'] === etag ? reply.code(304).send() : page;
  });

  app.get<{ Params: { hash: string; name: string } }>('/ui/:hash/:name', hidden, async (request, reply) => {
    const content = request.params.hash === hash ? assets.get(request.params.name) : undefined;
    if (content === undefined) throw new Problem('not_found');
    return reply.headers({ ...ASSET_HEADERS, 'content-type': TYPES[extname(request.params.name)] }).send(content);
  });
}

async function readFiles() {
  const names = (await readdir(FOLDER)).filter((name) => extname(name) in TYPES).sort();
  const own = names.map((name) => [name, new URL(name, FOLDER)] as const);
  const others = Object.entries(FROM_PACKAGES).map(
    ([name, from]) => [name, new URL(import.meta.resolve(from))] as const,
  );
  const assets = new Map<string, Buffer>();
  for (const [name, file] of [...own, ...others]) assets.set(name, await readFile(fileURLToPath(file)));
  const template = await readFile(new URL(PAGE, FOLDER), 'utf8');
  const digest = createHash('sha256').update(template);
  for (const [name, content] of assets) digest.update(name).update(content);
  const hash = digest.digest('hex').slice(0, 16);
  return { assets, hash, page: template.replaceAll('{{assets}}', `/ui/${hash}`) };
}
