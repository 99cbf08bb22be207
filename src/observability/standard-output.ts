/**
 * Where log lines go: standard output, without ever holding up or ending the service.
 *
 * A full disk, a collector that went away or one that does not keep up costs lines, and nothing else. pino's own
 * destination (sonic-boom 5) reports a full disk as an uncaught error and then waits for ever when the process ends.
 */
import { writeSync } from 'node:fs';

export interface StandardOutput {
  /** @param text a line, with its end */
  write(text: string): void;
  /** Lines that could not be written, or only in part. */
  readonly lost: number;
}

export function createStandardOutput(fd = 1): StandardOutput {
  let lost = 0;
  /** A line was cut off; what comes next must not be taken for its end. */
  let torn = false;
  return {
    write(text) {
      let rest = Buffer.from(torn ? `\n${text}` : text);
      try {
        while (rest.length > 0) {
          rest = rest.subarray(writeSync(fd, rest));
          torn = true;
        }
        torn = false;
      } catch {
        lost++;
      }
    },
    get lost() {
      return lost;
    },
  };
}
