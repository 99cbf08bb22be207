import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { AnswerColumn } from '../../../src/cli/bulk/answer-columns.ts';
import type { TableOptions } from '../../../src/cli/bulk/table.ts';
import { csv, jsonLines, tsv } from '../../../src/cli/bulk/text-dialects.ts';

const answers: AnswerColumn[] = [
  { name: 'label', type: 'string', read: () => null },
  { name: 'score', type: 'number', read: () => null },
];
const options: TableOptions = { path: undefined, textColumn: 'text', delimiter: ',', answers };

describe('dialects', () => {
  it('keep the bytes of a CSV row and quote what they add', () => {
    const { records } = csv(';').split(Buffer.from('id;text\n"1";"a;b"\n'), true);
    const [header, row] = records;
    assert.ok(header !== undefined && row !== undefined);
    const layout = csv(';').layout([header], options);
    assert.deepEqual(layout.item(row), { text: 'a;b' });
    assert.equal(layout.join(row, ['so; "so"', 0.5]).toString(), '"1";"a;b";"so; ""so""";0.5');
    assert.equal(layout.join(row, [null, 1e-6]).toString(), '"1";"a;b";;0.000001');
  });

  it('keep a JSON object as it is written', () => {
    const { records } = jsonLines().split(Buffer.from('{"id": 12345678901234567890, "text":"a}", "id":2 }\n'), true);
    const layout = jsonLines().layout(records, options);
    const [row] = records;
    assert.ok(row !== undefined);
    assert.deepEqual(layout.item(row), { text: 'a}' });
    assert.equal(
      layout.join(row, ['x', 1]).toString(),
      '{"id": 12345678901234567890, "text":"a}", "id":2 ,"label":"x","score":1}',
    );
  });

  it('take quotation marks of TSV for what they are', () => {
    const { records } = tsv().split(Buffer.from('n\ttext\r\n1\t"open\r\n2\ttoo\tmany\r\n3\t\r\n'), true);
    const layout = tsv().layout(records.slice(0, 1), options);
    assert.deepEqual(
      records.slice(1).map((record) => layout.item(record)),
      [{ text: '"open' }, { problem: 'malformed' }, { problem: 'no_text' }],
    );
  });

  it('refuse columns that cannot be told apart', () => {
    const layout = (header: string) => () =>
      csv(',').layout(csv(',').split(Buffer.from(header), true).records, options);
    assert.throws(layout('id,body\n'), /no column named text.*there are: id, body/s);
    assert.throws(layout('text,text\n'), /several columns named text/);
    assert.throws(layout('text,label\n'), /already has a column named label.*--prefix/s);
    assert.throws(layout(''), /is empty/);
    // Twice the same name elsewhere does no harm.
    assert.deepEqual(layout('a,a,text\n')().columns, ['a', 'a', 'text']);
  });

  it('name what is wrong with a line of JSON', () => {
    const lines = ['{"text":"a"}', '[1]', '{"text":1}', '{"text":"a","label":"b"}', '{"text":'];
    const { records } = jsonLines().split(Buffer.from(lines.join('\n')), true);
    const layout = jsonLines().layout(records.slice(0, 1), options);
    assert.deepEqual(
      records.map((record) => layout.item(record)),
      [
        { text: 'a' },
        { problem: 'malformed' },
        { problem: 'no_text' },
        { problem: 'reserved_column' },
        { problem: 'malformed' },
      ],
    );
  });
});
