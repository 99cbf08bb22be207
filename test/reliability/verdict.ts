/** How the scripts end that say whether something holds: JSON on standard output and in a file, and the exit code. */
import { writeFileSync } from 'node:fs';

/** @param save path of a file that gets the same */
export function conclude(
  result: { readonly holds: Readonly<Record<string, boolean>> },
  save: string | undefined,
): void {
  const text = `${JSON.stringify(result, null, 2)}\n`;
  if (save !== undefined) writeFileSync(save, text);
  process.stdout.write(text);
  process.exitCode = Object.values(result.holds).every(Boolean) ? 0 : 1;
}
