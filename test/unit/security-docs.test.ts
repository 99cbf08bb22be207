/** docs/security.md: each claim has a test that exists, and each production dependency a reason. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const page = read('docs/security.md');

/** Cells of the rows below a table's head. */
function table(head: string): string[][] {
  const from = page.indexOf(`| ${head} |`);
  assert.ok(from >= 0, head);
  const lines = page.slice(from).split('\n');
  const end = lines.findIndex((line) => !line.startsWith('|'));
  return lines.slice(2, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const packages = (head: string) => table(head).map(([name = '']) => name.replaceAll('`', ''));

describe('docs/security.md', () => {
  const rows = table('entry point | threat | what holds it | proof');

  it('has a proof for every claim', () => {
    assert.ok(rows.length > 30);
    for (const [entry, threat, , proof = ''] of rows) {
      const found = /^`(test\/\S+\.test\.ts)`: (\S.*)$/.exec(proof);
      assert.ok(found, `${entry}, ${threat}: ${proof}`);
      const [, file = '', name = ''] = found;
      // In a name of a test, of a group of tests, or of a case of a table.
      const named = read(file)
        .split('\n')
        .some((line) => /(?:it|test|describe)\(|^ {2}'.*': \[/.test(line) && line.includes(name));
      assert.ok(named, `${file} has no test with the name: ${name}`);
    }
  });

  it('says why each production dependency is there', () => {
    const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
    assert.deepEqual(packages('npm, in production | why').sort(), Object.keys(dependencies).sort());
    const [, list = ''] = /^dependencies = \[\n([\s\S]*?)^\]/m.exec(read('training/pyproject.toml')) ?? [];
    const names = [...list.matchAll(/^ {4}"([A-Za-z0-9_.-]+)/gm)].map(([, name]) => name);
    assert.deepEqual(packages('Python, of training | why').sort(), names.sort());
  });
});
