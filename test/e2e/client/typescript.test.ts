/** The TypeScript client as another project has it: packed, installed, and used against the real service. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createClient, ServiceError } from '../../../clients/typescript/src/index.ts';
import { sharedService } from '../shared-service.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const CLIENT = join(ROOT, 'clients/typescript');

function command(program: string, args: readonly string[], cwd: string, input?: string): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, encoding: 'utf8', input });
  assert.equal(status, 0, `${program} ${args.join(' ')}: ${error ?? ''}${stdout}${stderr}`);
  return stdout;
}

describe('the TypeScript client and the service', () => {
  const shared = sharedService();

  it('understand each other', async () => {
    const { url } = shared();
    const client = createClient({ baseUrl: url });
    const { models } = await client.models();
    assert.deepEqual(
      models.map(({ name, default: standard }) => [name, standard]),
      [['tiny', true]],
    );
    const { policies } = await client.policies();
    assert.ok(policies.some(({ name }) => name === 'default'));

    const whole = await client.classify({ texts: ['you are kind', 'fool'], gates: 'layers' });
    assert.deepEqual(Object.keys(whole.results[0]?.probabilities ?? {}), ['NOT', 'OFF']);
    assert.ok((whole.results[1]?.gates?.layers?.[1]?.value ?? 0) > 0);

    const each = await client.classify({ texts: ['fool', '!!!'], onError: 'item' });
    const [good, bad] = each.results;
    assert.ok(good !== undefined && !('error' in good) && good.tokens > 0);
    assert.ok(bad !== undefined && 'error' in bad && bad.error.code === 'empty_after_normalization');

    await assert.rejects(client.classify({ text: 'fool', model: 'nobody' }), (error) => {
      assert.ok(error instanceof ServiceError);
      assert.deepEqual([error.status, error.problem?.code], [404, 'unknown_model']);
      return true;
    });
    const { data } = await client.http.GET('/health/ready');
    assert.ok(data !== undefined);
  });

  it('serve its example', () => {
    const { url } = shared();
    const printed = command(process.execPath, ['examples/moderate.ts', url], CLIENT, 'you idiot\n!!!\n');
    assert.match(printed, /^1\tOFF\t0\.\d+\n2\tunread\tempty_after_normalization\n$/);
  });

  it('work in a project that installs the package', (t) => {
    const { url } = shared();
    const folder = mkdtempSync(join(tmpdir(), 'client-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const modules = join(folder, 'node_modules');
    const installed = join(modules, 'ds-lora-client');
    mkdirSync(installed, { recursive: true });
    command('npm', ['pack', '--silent', '--pack-destination', folder], CLIENT);
    const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? assert.fail('nothing was packed');
    command('tar', ['-xzf', join(folder, tarball), '--strip-components=1', '-C', installed], folder);
    // What npm would fetch.
    for (const name of ['openapi-fetch', 'openapi-typescript-helpers', 'typescript', '@types']) {
      symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    }

    writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
    const program = `import { createClient } from 'ds-lora-client';
const client = createClient({ baseUrl: process.argv[2] ?? '' });
const { results } = await client.classify({ texts: ['you are kind'], gates: 'mean' });
const mean: number | undefined = results[0]?.gates?.mean;
console.log(results[0]?.label, typeof mean);
`;
    writeFileSync(join(folder, 'use.ts'), program);
    const strict = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--types', 'node', 'use.ts'];
    command(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), ...strict], folder);
    assert.equal(command(process.execPath, ['use.ts', url], folder), 'OFF number\n');
    // A call with a field that there is not does not compile.
    writeFileSync(join(folder, 'use.ts'), program.replace("gates: 'mean'", "gates: 'all'"));
    assert.throws(
      () => command(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), ...strict], folder),
      /gates|"all"/,
    );
  });
});
