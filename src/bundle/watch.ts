/**
 * Notices that bundles, or files that lie beside each other, came, changed or went.
 *
 * The system's notifications are not enough: network volumes have none, and a link that is turned to another folder
 * gives one where the link is, not where it leads. So what is there is looked at every so often, and a notification only
 * makes it sooner. Sizes and times are compared, no file is read.
 */
import { watch } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface FolderWatch {
  close(): void;
}

/** Milliseconds after a notification: a copy causes many. */
const SETTLE_MS = 200;

/**
 * Calls `changed` when the folder is not as it was, and has not changed between two looks: what is still being copied is
 * left alone.
 *
 * @param pollMs milliseconds between two looks
 * @param changed the next look comes when it is over; must not reject
 */
export function watchFolder(watched: string, pollMs: number, changed: () => Promise<void>): FolderWatch {
  return watchFor(() => signature(watched), watched, pollMs, changed);
}

/** The same for single files, wherever each lies; without notifications. */
export function watchFiles(paths: readonly string[], pollMs: number, changed: () => Promise<void>): FolderWatch {
  const see = async () => (await Promise.all(paths.map(describe))).join('\n');
  return watchFor(see, undefined, pollMs, changed);
}

function watchFor(
  see: () => Promise<string>,
  notified: string | undefined,
  pollMs: number,
  changed: () => Promise<void>,
): FolderWatch {
  let acted: string | undefined;
  let previous: string | undefined;
  let closed = false;
  let looking = false;
  let timer: NodeJS.Timeout | undefined;

  async function look(): Promise<void> {
    if (looking || closed) return;
    looking = true;
    const seen = await see();
    acted ??= seen;
    const settled = seen === previous;
    previous = seen;
    if (seen !== acted && settled && !closed) {
      acted = seen;
      await changed();
    }
    looking = false;
    // What is new is looked at again soon, to see whether it is whole.
    schedule(seen === acted ? pollMs : Math.min(pollMs, SETTLE_MS));
  }

  function schedule(ms: number): void {
    clearTimeout(timer);
    if (!closed) timer = setTimeout(look, ms).unref();
  }

  function notifications(): { close(): void } | undefined {
    if (notified === undefined) return undefined;
    try {
      const watcher = watch(notified, { persistent: false }, () => {
        if (!looking) schedule(SETTLE_MS);
      });
      // A folder that is removed, or a system without watches to spare: looking goes on.
      return watcher.on('error', () => watcher.close());
    } catch {
      return undefined;
    }
  }

  const watcher = notifications();
  void look();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      watcher?.close();
    },
  };
}

/** Differs when a file of the folder or of one of its folders does: its name, place on the disk, size or time. Links are followed. */
async function signature(watched: string): Promise<string> {
  const entries = (await readdir(watched).catch(() => [])).filter((name) => !name.startsWith('.')).sort();
  const parts = await Promise.all(
    entries.map(async (entry) => {
      const folder = join(watched, entry);
      const names = (await readdir(folder).catch(() => undefined))?.sort();
      if (names === undefined) return `${entry} ${await describe(folder)}`;
      const files = await Promise.all(names.map((name) => describe(join(folder, name))));
      return [entry, ...names.map((name, i) => `${name} ${files[i]}`)].join('\n');
    }),
  );
  return parts.join('\n\n');
}

async function describe(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  return found === undefined ? 'unreadable' : `${found.ino} ${found.size} ${found.mtimeMs}`;
}
