/** What is broken inside: one entry a fault. Each returns what it did, in words with numbers. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { syntheticTexts } from '../../bench/texts.ts';
import type { Child } from './process-tree.ts';
import type { Scenario, Scene } from './scene.ts';

const random = <T>(from: readonly T[]): T | undefined => from[Math.floor(Math.random() * from.length)];

/** Sends a signal to a random child of a role at random moments. */
function strike(role: string, signal: NodeJS.Signals, pauseMs: number) {
  return async ({ children, seconds }: Scene): Promise<string> => {
    const end = performance.now() + seconds * 1000;
    let struck = 0;
    while (performance.now() < end) {
      await delay(pauseMs * (0.5 + Math.random()));
      const child = random(children(role));
      if (child === undefined) continue;
      process.kill(child.pid, signal);
      struck++;
    }
    return `${struck} ${role} processes ended by ${signal}`;
  };
}

/** Of a process that may be gone. */
function goOn(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch {
    // It is.
  }
}

export const INSIDE: Readonly<Record<string, Scenario>> = {
  'inference processes killed': { run: strike('inference', 'SIGKILL', 1_500), expect: [200, 503] },
  'abort in native code': { run: strike('inference', 'SIGABRT', 1_500), expect: [200, 503] },
  'tokenizer killed': { run: strike('tokenizer', 'SIGKILL', 1_500), expect: [200, 503] },

  'workers that hang': {
    // One may be stopped while it loads.
    env: () => ({ WORKER_TIMEOUT_MS: '1000', LOAD_TIMEOUT_MS: '10000' }),
    expect: [200, 503],
    async run({ children, seconds, context }) {
      const end = performance.now() + seconds * 1000;
      const stopped: number[] = [];
      // One that is stopped does not see that its parent has gone, and would stay for ever.
      context.after(() => stopped.forEach(goOn));
      while (performance.now() < end) {
        const child = random(children('inference'));
        if (child !== undefined) {
          process.kill(child.pid, 'SIGSTOP');
          stopped.push(child.pid);
        }
        await delay(2_000);
      }
      return `${stopped.length} inference processes stopped for good; the watchdog has to find them`;
    },
  },

  'a slow worker': {
    async run({ children, seconds }) {
      const end = performance.now() + seconds * 1000;
      const child = children('inference')[0] as Child;
      let naps = 0;
      while (performance.now() < end) {
        process.kill(child.pid, 'SIGSTOP');
        await delay(200);
        process.kill(child.pid, 'SIGCONT');
        await delay(50);
        naps++;
      }
      return `one of two inference processes asleep four fifths of the time, ${naps} times`;
    },
  },

  '10,000 clients that hang up': {
    connections: 4,
    expect: [200, 429],
    async run({ client }) {
      const body = JSON.stringify({ texts: syntheticTexts(8, 7) });
      let gone = 0;
      const one = async () => {
        while (gone < 10_000) {
          gone++;
          const asked = client.begin('/classify', body);
          await delay(Math.random() * 20);
          asked.destroy();
        }
      };
      await Promise.all(Array.from({ length: 100 }, one));
      return `${gone} requests of 8 texts broken off after 0 to 20 ms`;
    },
  },

  'reload under load': {
    env: () => ({ MODELS_DIR: reloadable() }),
    async run({ service, seconds, client }) {
      const end = performance.now() + seconds * 1000;
      let reloads = 0;
      while (performance.now() < end) {
        reloads++;
        nextVersion(`1.0.${reloads}`);
        service.process.kill('SIGHUP');
        const since = performance.now();
        while (!(await client.get('/models')).body.includes(`"1.0.${reloads}"`)) {
          if (performance.now() - since > 30_000) throw new Error('the new version was not served after 30 s');
          await delay(50);
        }
      }
      return `${reloads} new versions loaded, tried and switched to`;
    },
  },

  'processes killed while a model is loaded': {
    env: () => ({ MODELS_DIR: reloadable() }),
    expect: [200, 503],
    async run({ service, seconds, client, children }) {
      const end = performance.now() + seconds * 1000;
      let reloads = 0;
      let killed = 0;
      while (performance.now() < end) {
        reloads++;
        const version = `2.0.${reloads}`;
        nextVersion(version);
        service.process.kill('SIGHUP');
        for (let i = 0; i < 3; i++) {
          await delay(100 + Math.random() * 300);
          const child = random([...children('inference'), ...children('tokenizer')]);
          if (child !== undefined) process.kill(child.pid, 'SIGKILL');
          killed++;
        }
        const since = performance.now();
        while (!(await client.get('/models')).body.includes(`"${version}"`)) {
          if (performance.now() - since > 60_000) throw new Error('the new version was not served after 60 s');
          // A bundle whose trial was cut short is refused, and tried again when asked to.
          if (Math.random() < 0.05) service.process.kill('SIGHUP');
          await delay(100);
        }
      }
      return `${reloads} new versions, ${killed} processes killed while they were loaded and tried`;
    },
  },

  'SIGTERM under load': {
    env: () => ({ DRAIN_DELAY_MS: '2000' }),
    ends: true,
    async run({ service, load }) {
      await delay(1_000);
      const ended = service.stop('SIGTERM');
      // A load balancer looks away when readiness turns; clients stop while the service still drains.
      await delay(1_000);
      const inHand = load.stop();
      const code = await ended;
      await inHand;
      return `asked to end under load; clients went on for 1 s of 2 s; exit code ${code}`;
    },
  },

  'memory runs out': {
    expect: [200, 503],
    async run({ service, seconds, children, context }) {
      const group = '/sys/fs/cgroup/memory';
      const own = join(group, `dslora-${process.pid}`);
      const main = service.process.pid as number;
      mkdirSync(own);
      context.after(() => rmdirSync(own));
      writeFileSync(join(own, 'memory.limit_in_bytes'), String(SMALL_MEMORY_MIB * 1024 * 1024));
      const end = performance.now() + seconds * 1000;
      let born = 0;
      while (performance.now() < end) {
        // Memory counts where its process was born: the replacement is born into the small group, and stays there.
        const before = new Set(children('inference').map(({ pid }) => pid));
        write(join(own, 'cgroup.procs'), String(main));
        process.kill((children('inference')[0] as Child).pid, 'SIGKILL');
        while (!children('inference').some(({ pid }) => !before.has(pid))) await delay(1);
        write(join(group, 'cgroup.procs'), String(main));
        born++;
        await delay(2_000);
      }
      const kills = /oom_kill (\d+)/.exec(readFileSync(join(own, 'memory.oom_control'), 'utf8'))?.[1];
      for (const { pid } of children('inference')) write(join(group, 'cgroup.procs'), String(pid));
      return `${born} replacements had ${SMALL_MEMORY_MIB} MiB, ${kills} of them ended by the kernel`;
    },
  },

  'the clock jumps': {
    env: fakeClock,
    async run({ seconds, service }) {
      let jumps = 0;
      const end = performance.now() + seconds * 1000;
      while (performance.now() < end) {
        jumps++;
        setClock(jumps % 2 === 0 ? '-3600' : '+86400');
        // Node keeps the date of its answers for up to a second.
        await delay(1_100);
        const told = new Date((await fetch(`${service.url}/health/live`)).headers.get('date') ?? '').getTime();
        if (Math.abs(told - Date.now()) < 1_800_000) throw new Error("the service's clock did not jump");
      }
      return `${jumps} jumps of the wall clock between an hour back and a day ahead`;
    },
  },
};

/** Less than an inference process needs. */
const SMALL_MEMORY_MIB = 50;

/** For files of processes that may end at any time. */
function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch {
    // It has ended meanwhile.
  }
}

let reloadFolder: string | undefined;

/** A models folder with one bundle whose version can be raised. */
function reloadable(): string {
  if (reloadFolder === undefined) {
    reloadFolder = mkdtempSync(join(tmpdir(), 'reload-'));
    const made = reloadFolder;
    process.on('exit', () => rmSync(made, { recursive: true, force: true }));
    cpSync('models/olid-minilm', join(made, 'a'), { recursive: true });
  }
  return reloadFolder;
}

/** Puts a whole new folder in place of the old one, as an operator should. */
function nextVersion(version: string): void {
  const folder = reloadable();
  const next = join(folder, '.next');
  cpSync('models/olid-minilm', next, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(next, 'manifest.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(join(next, 'manifest.json'), JSON.stringify({ ...manifest, version }));
  rmSync(join(next, 'manifest.sha256'));
  renameSync(join(folder, 'a'), join(folder, '.old'));
  renameSync(next, join(folder, 'a'));
  rmSync(join(folder, '.old'), { recursive: true });
}

const CLOCK = join(tmpdir(), `clock-${process.pid}`);
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';

function setClock(offset: string): void {
  const whole = `${CLOCK}.new`;
  writeFileSync(whole, offset);
  renameSync(whole, CLOCK);
}

/** The wall clock comes from a file (Debian's faketime); the monotonic clock stays what it is. */
function fakeClock(): Readonly<Record<string, string>> {
  setClock('+0');
  process.on('exit', () => rmSync(CLOCK, { force: true }));
  return {
    LD_PRELOAD: FAKETIME,
    FAKETIME_TIMESTAMP_FILE: CLOCK,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  };
}
