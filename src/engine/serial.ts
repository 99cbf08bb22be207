/** Runs one piece of work after the other. */

/** @returns a function that starts `work` when all earlier work is over, and settles as it does */
export function createSerial(): <R>(work: () => Promise<R>) => Promise<R> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const outcome = last.then(work);
    last = outcome.catch(() => {});
    return outcome;
  };
}
