/** What an image holds, and what it does not. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { CONTAINERS } from '../runner/python-environment.ts';
import { MARKED_SECRET, ROOT } from './build.ts';
import type { Podman } from './podman.ts';

const MEBIBYTE = 1024 * 1024;
/** Ends with 1 and says why when standard input does not keep to the schema of CycloneDX 1.5. */
const VALIDATE = `
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_5).validate_str(sys.stdin.read()))
`;

export interface Built {
  readonly podman: Podman;
  readonly image: string;
  /** The file system of the image, as a tar archive. */
  readonly archive: string;
  /** Everything in it, from the root; folders end in a slash. */
  readonly files: readonly { readonly path: string; readonly mode: string }[];
}

export async function unpack(podman: Podman, image: string): Promise<Built> {
  const archive = join(podman.folder, 'root.tar');
  const id = await podman.run('create', image);
  await podman.run('export', '--output', archive, id);
  await podman.run('rm', id);
  const options = { encoding: 'utf8', maxBuffer: 64 * MEBIBYTE } as const;
  const files = execFileSync('tar', ['--list', '--verbose', '--file', archive], options)
    .trim()
    .split('\n')
    .map((line) => ({ mode: line.slice(0, 10), path: `/${line.split(/\s+/)[5]}` }));
  return { podman, image, archive, files };
}

/** @param built is asked when tests run */
export function testContent(built: () => Built): void {
  test('is at most 350 MB large, shipped models included', async (t) => {
    const { podman, files, image } = built();
    const bytes = Number(await podman.run('image', 'inspect', '--format', '{{.Size}}', image));
    t.diagnostic(`${(bytes / 1e6).toFixed(0)} MB`);
    assert.ok(bytes <= 350e6, `${bytes} bytes`);
    for (const model of ['olid-minilm', 'hatexplain-minilm'])
      assert.ok(
        files.some(({ path }) => path === `/app/models/${model}/manifest.json`),
        model,
      );
  });

  test('holds no shell, no package manager, no tool and nothing that the service does not load', () => {
    const { files } = built();
    const paths = files.map(({ path }) => path);
    const programs = files.filter(
      ({ path, mode }) => mode.startsWith('-') && /^\/(?:usr\/)?(?:local\/)?s?bin\//.test(path),
    );
    assert.deepEqual(
      programs.map(({ path }) => path),
      ['/usr/local/bin/node'],
    );
    assert.deepEqual(
      paths.filter((path) => /\.(?:so(?:\.\d+)*|node)$/.test(path) && path.startsWith('/app')),
      ['libonnxruntime.so.1', 'onnxruntime_binding.node'].map(
        (file) => `/app/node_modules/onnxruntime-node/bin/napi-v6/linux/${process.arch}/${file}`,
      ),
    );
    const unwanted =
      /^\/app\/node_modules\/(?:onnxruntime-web|@img|typescript|@biomejs|node|npm|playwright-core|knip)\//;
    assert.deepEqual(
      paths.filter((path) => unwanted.test(path)),
      [],
    );
    assert.deepEqual(
      paths.filter((path) => /^\/app\/node_modules\/.*\.(?:map|d\.ts)$/.test(path)),
      [],
    );
    assert.deepEqual(
      paths.filter((path) => /^\/app\/(?:test|training|scripts|docs|k8s)\//.test(path)),
      [],
    );
  });

  test('lets nobody but root change it', () => {
    const { files } = built();
    const open = files.filter(({ path, mode }) => mode[8] === 'w' && path !== '/tmp/');
    assert.deepEqual(open, []);
    assert.deepEqual(
      files.filter(({ mode }) => /[sS]/.test(mode)),
      [],
      'nothing gives rights to who runs it',
    );
  });

  test('keeps nothing of the machine that built it, nor of how it reaches registries', async () => {
    const { podman, files, image } = built();
    assert.deepEqual(
      files.map(({ path }) => path).filter((path) => /npmrc|\.(?:pem|key|crt)$|^\/root\/|\/\.git\/|\/\.env/.test(path)),
      [],
    );
    const history = await podman.run('history', '--no-trunc', '--format', '{{.CreatedBy}} {{.Comment}}', image);
    // The engine says where it keeps the image here; that is no part of it.
    const config = (await podman.run('image', 'inspect', image)).replaceAll(podman.folder, '');
    for (const secret of [MARKED_SECRET, podman.folder, ROOT.replace(/\/$/, ''), hostname()]) {
      const named = new RegExp(`(?<!\\w)${secret.replaceAll('.', '\\.')}(?!\\w)`);
      assert.doesNotMatch(history, named, 'the history names it');
      assert.doesNotMatch(config, named, 'the configuration names it');
    }
    // Also in layers that later ones hide.
    const layers = join(podman.folder, 'layers.tar');
    await podman.run('save', '--output', layers, image);
    const found = execFileSync('sh', ['-c', 'grep -c -a -F "$1" "$2" || true', 'sh', MARKED_SECRET, layers]);
    assert.equal(Number(found), 0, 'a layer holds the secret that was mounted while the image was built');
  });

  test('says what it is, and what it holds', async () => {
    const { podman, files, archive, image } = built();
    const labels = JSON.parse(await podman.run('image', 'inspect', '--format', '{{json .Labels}}', image)) as Record<
      string,
      string
    >;
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    assert.equal(labels['org.opencontainers.image.version'], version);
    assert.match(labels['org.opencontainers.image.revision'] ?? '', /^[0-9a-f]{40}$/);
    assert.equal(labels['org.opencontainers.image.licenses'], 'Apache-2.0');

    const read = (path: string) =>
      execFileSync('tar', ['--extract', '--to-stdout', '--file', archive, path], { encoding: 'utf8' });
    const { components } = JSON.parse(read('app/sbom.cdx.json')) as { components: { name: string; purl?: string }[] };
    const named = new Set(components.map(({ name }) => name));
    const installed = files.flatMap(
      ({ path }) => /^\/app\/node_modules\/((?:@[^/]+\/)?[^/@]+)\/$/.exec(path)?.[1] ?? [],
    );
    // What stands in for sharp is this project's own.
    assert.deepEqual(
      installed.filter((name) => !named.has(name) && name !== 'sharp'),
      [],
    );
    for (const name of ['libc6', 'libstdc++6', 'libgcc-s1', 'node', 'olid-minilm']) assert.ok(named.has(name), name);
    execFileSync(CONTAINERS.python, ['-c', VALIDATE], {
      input: read('app/sbom.cdx.json'),
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    assert.match(read('app/licenses.md'), /\| fastify \| [\d.]+ \| MIT \|/);
  });
}
