/** Which packages get into images, under which licences, and what the SBOM says of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { exceptionFor, isAllowed, licenseProblems } from '../../scripts/image/licenses.ts';
import { imagePackages, type Lock, productionPackages, readLock } from '../../scripts/image/packages.ts';
import { writeSbom } from '../../scripts/image/sbom.ts';

const LOCK: Lock = {
  '': { dependencies: { a: '1', '@huggingface/transformers': '4' }, optionalDependencies: { elsewhere: '1' } },
  'node_modules/a': {
    version: '1.0.0',
    license: 'MIT',
    dependencies: { b: '1' },
    peerDependencies: { c: '1', d: '1' },
  },
  'node_modules/a/node_modules/b': { version: '1.5.0', license: 'ISC', dependencies: { c: '1' } },
  'node_modules/b': { version: '2.0.0', license: 'MIT' },
  'node_modules/c': { version: '1.0.0' },
  'node_modules/d': { version: '1.0.0', license: 'GPL-3.0-only', dev: true },
  'node_modules/@huggingface/transformers': { version: '4.0.0', dependencies: { sharp: '1', b: '2' } },
  'node_modules/sharp': { version: '1.0.0', license: 'Apache-2.0', dependencies: { e: '1' } },
  'node_modules/e': { version: '1.0.0', license: 'MIT' },
};

test('an image gets what the service needs, from where Node finds it, without what nothing uses', () => {
  assert.deepEqual(
    imagePackages(LOCK).map(({ path }) => path),
    [
      'node_modules/@huggingface/transformers',
      'node_modules/a',
      'node_modules/a/node_modules/b',
      'node_modules/b',
      'node_modules/c',
      'node_modules/d',
    ],
  );
});

test('a package that is needed and not locked is an error', () => {
  assert.throws(() => imagePackages({ '': { dependencies: { gone: '1' } } }), /no gone for the service/);
});

test('licences: all of AND, one of OR, none that is not known', () => {
  for (const good of ['MIT', '(MIT OR CC0-1.0)', 'GPL-3.0-only OR MIT', 'MIT AND ISC'])
    assert.ok(isAllowed(good), good);
  for (const bad of [
    'GPL-3.0-only',
    'MIT AND GPL-3.0-only',
    'MIT OR ISC AND GPL-3.0-only',
    'SEE LICENSE IN x',
    '',
    undefined,
  ])
    assert.ok(!isAllowed(bad), bad);
});

test('a package without a licence that is allowed is named with what to do', () => {
  const lock = { ...LOCK, 'node_modules/c': { version: '1.0.0', license: 'SSPL-1.0' } };
  const problems = licenseProblems(productionPackages(lock));
  assert.equal(problems.length, 2);
  assert.match(problems[0] ?? '', /^c@1\.0\.0 has the licence SSPL-1\.0.* scripts\/image\/licenses\.ts/);
  assert.match(problems[1] ?? '', /^@huggingface\/transformers@4\.0\.0 has the licence \(none stated\)/);
});

test('no package of an image needs an exception', async () => {
  const packages = imagePackages(await readLock());
  assert.ok(packages.length > 50);
  assert.deepEqual(licenseProblems(packages), []);
  assert.deepEqual(
    packages.filter((found) => !isAllowed(found.license) || exceptionFor(found) !== undefined),
    [],
  );
});

test('the SBOM names every package of an image and no other, and is the same for the same commit', async () => {
  const bom = await writeSbom(1_700_000_000);
  const names = bom.components.filter(({ type }) => type === 'library').map((component) => component['bom-ref']);
  const packages = imagePackages(await readLock()).map(({ name, version }) => `${name}@${version}`);
  assert.deepEqual([...names].sort(), [...new Set(packages)].sort());
  for (const left of ['sharp', 'onnxruntime-web', 'node-domexception', 'typescript'])
    assert.ok(!bom.components.some(({ name }) => name === left), left);
  assert.equal(bom.bomFormat, 'CycloneDX');
  assert.equal(bom.metadata.timestamp, '2023-11-14T22:13:20.000Z');
  assert.match(bom.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  const refs = new Set([bom.metadata.component['bom-ref'], ...bom.components.map((component) => component['bom-ref'])]);
  for (const { ref, dependsOn = [] } of bom.dependencies)
    for (const name of [ref, ...dependsOn]) assert.ok(refs.has(name), name);
  assert.deepEqual(await writeSbom(1_700_000_000), bom);
});
