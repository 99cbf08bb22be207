/**
 * One child process that is always there: started, watched, killed when it hangs, replaced when it dies.
 *
 * Calls are promises. Whatever happens to the child, each call is settled exactly once: with the child's reply, or with
 * a ChildError. Deciding what to do with work that a dead child held is the caller's part.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import type { Call, Replies, Reply, Request, Role } from './protocol.ts';

export class ChildError extends Error {
  override readonly name = 'ChildError';
  /**
   * `refused`: the child answered that it cannot; it is well, and another try would end alike.
   * `lost`: the child died, was killed because it hung, or was not running.
   */
  readonly kind: 'refused' | 'lost';

  constructor(kind: 'refused' | 'lost', message: string) {
    super(message);
    this.kind = kind;
  }
}

export interface SupervisedChild {
  /** False while the child is being replaced. */
  readonly running: boolean;
  readonly pid: number | undefined;
  /** Starts in a row that ended before the child had lived for a while. */
  readonly failures: number;
  /**
   * Calls are worked off in the order in which they are made, each within its time.
   *
   * @param timeoutMs from when the child has answered all calls before it
   * @throws ChildError
   */
  call<R extends Request>(request: R, timeoutMs: number): Promise<Replies[R['type']]>;
  /** Ends the child for good. Calls still open are lost. */
  close(): Promise<void>;
}

/** What happens to every child, whatever it works for. */
export interface ChildWatch {
  readonly started: (event: { role: string; pid: number | undefined }) => void;
  readonly exited: (event: { role: string; code: number | null; signal: string | null; expected: boolean }) => void;
}

export interface ChildEvents {
  /** The child runs and takes calls; also after each replacement. */
  started(): void;
  exited(): void;
  readonly watch: ChildWatch;
}

/** Wait before a replacement starts: none after a first death, then doubled from 100 ms to 10 s. */
const BACKOFF_MS = { first: 100, longest: 10_000 };
/** A child that lived this long was not failing at its start. */
const HEALTHY_AFTER_MS = 10_000;
/** A child that does not end by itself when told to is killed. */
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * What a child allocates is garbage at once. A tokenizer makes so much of it that a smaller space for new objects costs
 * a third of its time.
 */
const HEAP: Record<Role, string[]> = {
  tokenizer: ['--max-semi-space-size=4', '--heap-growing-percent=20'],
  inference: ['--max-semi-space-size=1', '--heap-growing-percent=20'],
};

/**
 * glibc asks for huge pages (2 MB) where it allocates much: weights are read from one end to the other for every batch, and
 * with pages of 4 kB looking up where they lie takes 2 to 3 % of a run. Elsewhere, or where the system has none, nothing
 * changes. 5 MB of memory a process is the price.
 */
const HUGE_PAGES = 'glibc.malloc.hugetlb';

const ENTRY = fileURLToPath(new URL('./worker.ts', import.meta.url));

interface Open {
  readonly resolve: (value: never) => void;
  readonly reject: (error: ChildError) => void;
  readonly timeoutMs: number;
}

/** @param entry path of the child's program; another one only in tests */
export function superviseChild(role: Role, events: ChildEvents, entry: string = ENTRY): SupervisedChild {
  let child: ChildProcess | undefined;
  let restart: NodeJS.Timeout | undefined;
  let startedAt = 0;
  let failures = 0;
  let closing = false;
  let nextJob = 0;
  /** The oldest first; the child works on that one. */
  const open = new Map<number, Open>();
  let watchdog: NodeJS.Timeout | undefined;

  function start(): void {
    restart = undefined;
    startedAt = performance.now();
    const started = fork(entry, [role], {
      serialization: 'advanced',
      // Flags of the parent (a test runner's, an inspector's) are not the child's.
      execArgv: HEAP[role],
      env: role === 'inference' ? withHugePages(process.env) : process.env,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    child = started;
    started.on('message', (reply: Reply) => {
      if (started === child) settle(reply);
    });
    // A failed fork has no 'exit'; a broken channel is followed by one.
    started.on('error', () => {
      if (started.pid === undefined) ended(started, null, null);
    });
    started.on('exit', (code, signal) => ended(started, code, signal));
    // Not before the caller has its SupervisedChild.
    queueMicrotask(() => {
      events.watch.started({ role, pid: started.pid });
      events.started();
    });
  }

  function settle(reply: Reply): void {
    const call = open.get(reply.job);
    if (call === undefined) return;
    open.delete(reply.job);
    watchOldest();
    if ('failed' in reply) call.reject(new ChildError('refused', reply.failed));
    else call.resolve(reply.value as never);
  }

  /** Nothing can interrupt native code but the end of its process. 'exit' then rejects what it held. */
  function watchOldest(): void {
    clearTimeout(watchdog);
    const [oldest] = open.values();
    const target = child;
    watchdog = oldest && setTimeout(() => target?.kill('SIGKILL'), oldest.timeoutMs);
  }

  function ended(which: ChildProcess, code: number | null, signal: string | null): void {
    if (which !== child) return;
    child = undefined;
    failures = performance.now() - startedAt > HEALTHY_AFTER_MS ? 0 : failures + 1;
    if (!closing) {
      const wait = failures <= 1 ? 0 : Math.min(BACKOFF_MS.first * 2 ** (failures - 2), BACKOFF_MS.longest);
      restart = setTimeout(start, wait);
    }
    const lost = [...open.values()];
    open.clear();
    clearTimeout(watchdog);
    const how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
    for (const call of lost) call.reject(new ChildError('lost', `the ${role} process ${how}`));
    events.watch.exited({ role, code, signal, expected: closing });
    events.exited();
  }

  start();

  return {
    get running() {
      return child !== undefined;
    },
    get pid() {
      return child?.pid;
    },
    get failures() {
      return failures;
    },
    call(request, timeoutMs) {
      const target = child;
      if (target === undefined) return Promise.reject(new ChildError('lost', `the ${role} process is not running`));
      const job = nextJob++;
      return new Promise((resolve, reject) => {
        open.set(job, { resolve, reject, timeoutMs });
        if (open.size === 1) watchOldest();
        // A message that cannot be sent means that the child is gone: 'exit' follows.
        target.send({ job, request } satisfies Call, () => {});
      });
    },
    close() {
      closing = true;
      clearTimeout(restart);
      const target = child;
      if (target === undefined) return Promise.resolve();
      return new Promise((resolve) => {
        const killer = setTimeout(() => target.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
        target.once('exit', () => {
          clearTimeout(killer);
          resolve();
        });
        if (target.connected) target.disconnect();
      });
    },
  };
}

/** What is set already counts. */
function withHugePages(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { GLIBC_TUNABLES: tunables = '' } = env;
  if (tunables.includes(HUGE_PAGES)) return env;
  return { ...env, GLIBC_TUNABLES: [tunables, `${HUGE_PAGES}=1`].filter(Boolean).join(':') };
}
