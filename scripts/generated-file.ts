/** Files, or parts of files, that are made from code and committed: written, or with `--check` compared. */
import { readFile, writeFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * Writes the file; with `--check` on the command line says when it differs and makes the process end with 1.
 *
 * @param command that writes it, for the message
 * @param make the whole new content from the present one, which is empty for a file that does not exist
 */
export async function keepGenerated(file: URL, command: string, make: (present: string) => string): Promise<void> {
  const present = await readFile(file, 'utf8').catch(() => '');
  const expected = make(present);
  if (present === expected) return;
  if (process.argv.includes('--check')) {
    console.error(`${relative(root, fileURLToPath(file))} is out of date: run \`${command}\` and commit the result.`);
    process.exitCode = 1;
  } else {
    await writeFile(file, expected);
  }
}

/** @returns the text with what stands between the markers of that name replaced */
export function replaceMarked(text: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name}: generated, do not edit -->`, `<!-- /${name} -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`The markers ${begin} and ${end} are missing`);
  return `${text.slice(0, from + begin.length)}\n\n${content}\n\n${text.slice(to)}`;
}
