/** The init container that holds models to their checksums, run as it is, with the repository's own models. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { ROOT, runCommand } from '../runner/command.ts';

const FOLDER = fileURLToPath(new URL('../../k8s/components/pinned-models/', import.meta.url));
const PINS = readFileSync(join(FOLDER, 'models.txt'), 'utf8');

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'dslora-pins-'));
});
afterEach(() => rmSync(scratch, { recursive: true }));

/** @param pins lines of models.txt */
function fetchModels(pins: string) {
  writeFileSync(join(scratch, 'models.txt'), pins);
  return runCommand('node', [join(FOLDER, 'fetch-models.mts'), join(scratch, 'models.txt'), target()]);
}
function target(): string {
  const folder = join(scratch, 'models');
  if (!existsSync(folder)) cpSync(join(FOLDER, 'models.txt'), join(folder, '.keep'));
  return folder;
}
/** What the service would look at. */
const served = () => readdirSync(target()).filter((name) => !name.startsWith('.'));
const pinOf = (folder: string) =>
  createHash('sha256')
    .update(readFileSync(join(folder, 'manifest.json')))
    .digest('hex');

describe('pinned models', () => {
  it('are those of this repository, whole', async () => {
    const { code, output } = await fetchModels(PINS.replaceAll('/app/models/', join(ROOT, 'models/')));
    assert.equal(code, 0, output);
    assert.deepEqual(served().sort(), ['hatexplain-minilm', 'olid-minilm']);
    for (const name of served())
      for (const file of readdirSync(join(ROOT, 'models', name)))
        assert.ok(
          readFileSync(join(ROOT, 'models', name, file)).equals(readFileSync(join(target(), name, file))),
          `${name}/${file}`,
        );
  });

  it('come over HTTP too', async () => {
    const server = createServer((request, response) => {
      const file = join(ROOT, 'models', request.url ?? '');
      if (existsSync(file)) response.end(readFileSync(file));
      else response.writeHead(404).end();
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const pin = pinOf(join(ROOT, 'models/olid-minilm'));
    const good = await fetchModels(`# a comment\n\n${pin} ${origin}/olid-minilm/\n`);
    assert.equal(good.code, 0, good.output);
    assert.deepEqual(served(), ['olid-minilm']);
    const missing = await fetchModels(`${pin} ${origin}/other\n`);
    assert.notEqual(missing.code, 0);
    assert.match(missing.output, /other\/manifest\.json is refused: the server answered 404/);
    server.closeAllConnections();
    server.close();
  });

  const CHANGES: readonly (readonly [name: string, change: (bundle: string) => string | undefined, said: RegExp])[] = [
    [
      'another manifest',
      (bundle) => {
        const pin = pinOf(bundle);
        writeFileSync(join(bundle, 'manifest.json'), `${readFileSync(join(bundle, 'manifest.json'), 'utf8')} `);
        return pin;
      },
      /manifest\.json is refused: its SHA-256 is .*, expected/,
    ],
    [
      'a changed byte',
      (bundle) => {
        const bytes = readFileSync(join(bundle, 'model.onnx'));
        bytes[1000] = (bytes[1000] as number) ^ 1;
        writeFileSync(join(bundle, 'model.onnx'), bytes);
        return undefined;
      },
      /model\.onnx is refused: its SHA-256 is/,
    ],
    [
      'a file cut short',
      (bundle) => {
        writeFileSync(join(bundle, 'golden.json'), readFileSync(join(bundle, 'golden.json')).subarray(1));
        return undefined;
      },
      /golden\.json is refused: it has \d+ bytes, expected/,
    ],
    [
      'a file that does not end',
      (bundle) => {
        writeFileSync(join(bundle, 'golden.json'), `${readFileSync(join(bundle, 'golden.json'), 'utf8')} `);
        return undefined;
      },
      /golden\.json is refused: it is larger than/,
    ],
    [
      'a file that is not there',
      (bundle) => {
        rmSync(join(bundle, 'tokenizer.json'));
        return undefined;
      },
      /tokenizer\.json is refused: .*ENOENT/,
    ],
    [
      'a way out of the folder',
      (bundle) => {
        const file = join(bundle, 'manifest.json');
        writeFileSync(file, readFileSync(file, 'utf8').replace('"golden.json"', '"../golden.json"'));
        return undefined;
      },
      /names a file outside of itself: \.\.\/golden\.json/,
    ],
  ];
  for (const [name, change, said] of CHANGES)
    it(`are refused: ${name}`, async () => {
      const bundle = join(scratch, 'olid-minilm');
      cpSync(join(ROOT, 'models/olid-minilm'), bundle, { recursive: true });
      const pin = change(bundle) ?? pinOf(bundle);
      const { code, output } = await fetchModels(`${pin} ${bundle}\n`);
      assert.notEqual(code, 0);
      assert.match(output, said);
      assert.deepEqual(served(), []);
    });

  it('are refused where no line or a wrong one says which', async () => {
    assert.match((await fetchModels('# nothing\n')).output, /names no bundle/);
    assert.match((await fetchModels('abc /app/models/mine\n')).output, /must be a SHA-256 and a place, got: abc/);
  });
});
