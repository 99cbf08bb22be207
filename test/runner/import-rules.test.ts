/** The rules about who may import whom stand in biome.json; these are imports that they must refuse. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { ROOT, runCommand } from './command.ts';

const FORBIDDEN: readonly [file: string, imports: string][] = [
  ['src/bundle/x.ts', '../engine/types.ts'],
  ['src/bundle/x.ts', '../api/problems.ts'],
  ['src/engine/x.ts', '../api/problems.ts'],
  ['src/engine/x.ts', '../config.ts'],
  ['src/engine/x.ts', '../observability/metrics.ts'],
  ['src/engine/x.ts', 'onnxruntime-node'],
  ['src/engine/x.ts', '@huggingface/transformers'],
  ['src/engine/x.ts', 'fastify'],
  ['src/engine/session.ts', '@huggingface/transformers'],
  ['src/engine/session.ts', '../api/problems.ts'],
  ['src/engine/tokenizer.ts', 'onnxruntime-node'],
  ['src/bundle/x.ts', '../moderation/types.ts'],
  ['src/engine/x.ts', '../moderation/types.ts'],
  ['src/moderation/x.ts', '../engine/engine.ts'],
  ['src/moderation/evasion/x.ts', '../../engine/normalize.ts'],
  ['src/moderation/x.ts', '../api/problems.ts'],
  ['src/moderation/x.ts', '../config.ts'],
  ['src/moderation/x.ts', 'fastify'],
  ['src/moderation/x.ts', 'onnxruntime-node'],
  ['src/api/x.ts', '../engine/engine.ts'],
  ['src/api/x.ts', '../main.ts'],
  ['src/api/x.ts', '../serve.ts'],
  ['src/moderation/x.ts', '../serve.ts'],
  ['src/api/compat/x.ts', '../../engine/engine.ts'],
  ['src/api/x.ts', 'onnxruntime-node'],
  ['src/main.ts', 'onnxruntime-node'],
];

const ALLOWED: readonly [file: string, imports: string][] = [
  ['src/engine/session.ts', 'onnxruntime-node'],
  ['src/engine/tokenizer.ts', '@huggingface/transformers'],
  ['src/engine/x.ts', '../bundle/manifest.ts'],
  ['src/moderation/x.ts', '../engine/types.ts'],
  ['src/moderation/x.ts', '../bundle/manifest.ts'],
  ['src/moderation/evasion/x.ts', '../scores.ts'],
  ['src/api/x.ts', '../moderation/moderator.ts'],
  ['src/api/x.ts', '../engine/types.ts'],
  ['src/api/x.ts', '../bundle/manifest.ts'],
  ['src/main.ts', './engine/engine.ts'],
];

describe('import rules', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'import-rules-'));
    for (const file of ['biome.json', '.gitignore']) cpSync(join(ROOT, file), join(folder, file));
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  });
  after(() => rmSync(folder, { recursive: true }));

  async function complaints(file: string, imports: string): Promise<string> {
    const path = join(folder, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `export * from '${imports}';\n`);
    const { output } = await runCommand('biome', ['lint', '--config-path', folder, path]);
    rmSync(path);
    return output;
  }

  for (const [file, imports] of FORBIDDEN) {
    it(`refuse ${imports} in ${file}`, async () => {
      assert.match(await complaints(file, imports), /noRestrictedImports/);
    });
  }
  for (const [file, imports] of ALLOWED) {
    it(`allow ${imports} in ${file}`, async () => {
      assert.doesNotMatch(await complaints(file, imports), /noRestrictedImports/);
    });
  }
});
