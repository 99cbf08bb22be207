/** How far a run is, on standard error: one line that is rewritten on a terminal, else one now and then. */
import type { Progress } from './journal.ts';

export interface ProgressReport {
  /** Called whenever something was written; most calls say nothing. */
  update(progress: Progress): void;
  /** Ends the line. */
  end(): void;
}

const TERMINAL_MS = 200;
const LOG_MS = 10_000;

/**
 * @param size of the input, in the unit of `Progress.input`; undefined when nobody knows
 * @param begun what was done before this process began: it says nothing about its speed
 */
export function reportProgress(
  stream: Pick<NodeJS.WriteStream, 'write' | 'isTTY'>,
  size: number | undefined,
  begun: Progress,
): ProgressReport {
  const started = performance.now();
  const every = stream.isTTY ? TERMINAL_MS : LOG_MS;
  let last = started;
  let open = false;
  return {
    update(progress) {
      const now = performance.now();
      if (now - last < every) return;
      last = now;
      const line = progressLine(progress, begun, size, (now - started) / 1000);
      stream.write(stream.isTTY ? `\r${line}\u001b[K` : `${line}\n`);
      open = stream.isTTY;
    },
    end() {
      if (open) stream.write('\n');
      open = false;
    },
  };
}

/** @param seconds since the process began */
export function progressLine(progress: Progress, begun: Progress, size: number | undefined, seconds: number): string {
  const rate = (progress.rows - begun.rows) / seconds;
  const parts = [`${count(progress.rows)} rows`, `${count(Math.round(rate))} rows/s`];
  if (size !== undefined && size > 0) {
    const done = progress.input ?? 0;
    const speed = (done - (begun.input ?? 0)) / seconds;
    parts.unshift(`${Math.floor((100 * done) / size)} %`);
    if (speed > 0) parts.push(`${duration((size - done) / speed)} left`);
  }
  return parts.join(', ');
}

export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** 1234567 -> 1,234,567. Without `toLocaleString`: what that loads first holds up the rows. */
export function count(number: number): string {
  return String(number).replace(/\B(?=(?:\d{3})+$)/g, ',');
}
