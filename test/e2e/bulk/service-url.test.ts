/** The command against a running service. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';

import { startService } from '../service.ts';
import { classify, folder } from './command.ts';

describe('dslora-classify --url', () => {
  it('writes what it writes with an engine of its own', async (t) => {
    const at = await folder(t);
    const rows = Array.from(
      { length: 3_000 },
      (_, i) => `${i},${i % 500 === 0 ? '!!!' : `fool ${'kind '.repeat(i % 40)}`}`,
    );
    await writeFile(at('in.csv'), `id,text\n${rows.join('\n')}\n`);
    const service = await startService(t, { QUEUE_WINDOWS: '600' });
    for (const [name, args] of [
      ['own', []],
      ['url', ['--url', service.url]],
    ] as const) {
      const { code, stderr } = await classify([
        at('in.csv'),
        '-o',
        at(`${name}.csv`),
        '--policy',
        'default',
        '-q',
        ...args,
      ]);
      assert.equal(code, 0, stderr);
    }
    assert.equal(await readFile(at('url.csv'), 'utf8'), await readFile(at('own.csv'), 'utf8'));
    assert.equal(await readFile(at('url.csv.bad.jsonl'), 'utf8'), await readFile(at('own.csv.bad.jsonl'), 'utf8'));
    assert.match(await readFile(at('url.csv'), 'utf8'), /^id,text,label,score,offensive,flagged,decision,/);
  });

  it('says what the service answered when it cannot go on', async (t) => {
    const at = await folder(t);
    await writeFile(at('in.csv'), 'text\nkind\n');
    const service = await startService(t, { BODY_LIMIT_BYTES: '1024', MAX_TEXT_CHARS: '10000' });
    await writeFile(at('long.csv'), `text\n${'fool '.repeat(500)}\n`);
    const { code, stderr } = await classify([at('long.csv'), '-o', at('out.csv'), '--url', service.url, '-q']);
    assert.equal(code, 1);
    assert.match(stderr, /Broken off after 0 rows: status 413: .*body_too_large/);
  });
});
