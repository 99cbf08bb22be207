import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { createStandardOutput } from '../../src/observability/standard-output.ts';

const O_WRITE_NON_BLOCKING = constants.O_WRONLY | constants.O_NONBLOCK;

/** What a pipe holds, of at most 64 KiB. */
function read(fd: number): string {
  const buffer = Buffer.alloc(65_536);
  return buffer.subarray(0, readSync(fd, buffer)).toString();
}

test('lines are written in order', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'output-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const fd = openSync(join(folder, 'log'), 'w');
  const output = createStandardOutput(fd);
  output.write('one\n');
  output.write('zwei — ü\n');
  closeSync(fd);
  assert.equal(readFileSync(join(folder, 'log'), 'utf8'), 'one\nzwei — ü\n');
  assert.equal(output.lost, 0);
});

test('a full disk and a closed pipe cost lines and nothing else', (t) => {
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  const output = createStandardOutput(full);
  output.write('one\n');
  output.write('two\n');
  assert.equal(output.lost, 2);
});

test('after a line that was cut off the next one begins a line', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'output-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const fifo = join(folder, 'pipe');
  execFileSync('mkfifo', [fifo]);
  // Open for both, and not blocking: it takes 64 KiB and then no more, until somebody reads.
  const reader = openSync(fifo, 'r+');
  const writer = openSync(fifo, O_WRITE_NON_BLOCKING);
  const output = createStandardOutput(writer);
  output.write(`${'a'.repeat(100_000)}\n`);
  assert.equal(output.lost, 1);
  const got = read(reader);
  output.write('next\n');
  assert.match(got + read(reader), /^a+\nnext\n$/);
  closeSync(reader);
  closeSync(writer);
});
