/** What can be told of the Dockerfile without building it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { test } from 'node:test';

import { CONTAINERS, TRAINING } from '../runner/python-environment.ts';
import { baseImages, ROOT } from './build.ts';

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');
const project = JSON.parse(read('package.json')) as Record<'dependencies' | 'devDependencies', Record<string, string>>;
const hadolint = join(dirname(CONTAINERS.python), 'hadolint');

test('hadolint finds nothing', {
  skip: existsSync(hadolint) ? false : 'hadolint is missing: npm test brings it',
}, () => {
  execFileSync(hadolint, ['--failure-threshold', 'info', join(ROOT, 'Dockerfile')], { encoding: 'utf8' });
});

test('every base is named by its full version', async () => {
  const bases = await baseImages();
  assert.ok(bases.length >= 3);
  for (const base of bases) assert.match(base, /^[a-z/]+:\d+\.\d+\.\d+-[a-z0-9.-]+$/);
});

test('images have the Node on which everything is tested', async () => {
  const node = (await baseImages()).filter((base) => base.startsWith('node:'));
  assert.deepEqual(node, [`node:${project.devDependencies.node}-bookworm-slim`]);
});

test('the CUDA libraries are of the version of onnxruntime-node', () => {
  const [, version] = /^onnxruntime-gpu==(\S+)/m.exec(read('scripts/image/onnxruntime-gpu.lock')) ?? [];
  assert.equal(version, project.dependencies['onnxruntime-node']);
});

test('the last stage is the CPU image, and what is copied is sent to the engine', () => {
  const text = read('Dockerfile');
  assert.equal([...text.matchAll(/^FROM .*$/gm)].at(-1)?.[0], 'FROM cpu');
  const sent = [...read('.dockerignore').matchAll(/^!(.*)$/gm)].map(([, path]) => path as string);
  const copied = [...text.matchAll(/^COPY (?!--from)(.*)$/gm)].flatMap(([, paths]) =>
    (paths as string).split(' ').slice(0, -1),
  );
  for (const path of copied) {
    assert.ok(existsSync(join(ROOT, path)), `${path} does not exist`);
    assert.ok(
      sent.some((name) => path === name || path.startsWith(`${name}/`)),
      `${path} is not in .dockerignore`,
    );
  }
});

test('the training stage copies what the package is built of', {
  skip: existsSync(TRAINING.python) ? false : 'no training environment',
}, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ds-lora-training-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const stage = /^FROM \S+ AS training-build$(.*?)^FROM/ms.exec(read('Dockerfile'))?.[1] ?? '';
  for (const [, line] of stage.matchAll(/^COPY (.*)$/gm)) {
    const paths = (line as string).split(' ');
    const to = resolve(folder, 'build/training', (paths.pop() as string).replace(/^\/build/, '..'));
    // A folder is copied to that name, files into it.
    for (const path of paths)
      cpSync(join(ROOT, path), to.endsWith('/src') ? to : join(to, basename(path)), { recursive: true });
  }
  const place = join(folder, 'build/training');
  execFileSync(TRAINING.python, ['-m', 'hatchling', 'build', '--target', 'wheel'], { cwd: place, stdio: 'pipe' });
  const [wheel] = globSync(join(place, 'dist/*.whl'));
  const list = ['-m', 'zipfile', '--list', wheel as string];
  const listed = execFileSync(TRAINING.python, list, { encoding: 'utf8' });
  for (const file of ['dslora/export/manifest.schema.json', 'dslora/cli/__init__.py'])
    assert.ok(listed.includes(file), file);
});
