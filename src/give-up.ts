/** How the process ends when its settings are wrong: with a message that says what to do, and exit code 1. */

export function indent(lines: readonly string[]): string {
  return lines.map((line) => `  ${line}`).join('\n');
}

export function giveUp(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
