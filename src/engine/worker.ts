/**
 * Entry of the child processes: `worker.ts tokenizer` or `worker.ts inference`. Each role loads only what it needs.
 *
 * A child answers calls one after the other, and ends when the channel to its parent closes, so it never outlives it.
 */
import type { Call, Handler, Reply } from './protocol.ts';
import { Refusal } from './refusal.ts';

/** Exit codes beyond the usual ones. */
const UNEXPECTED_ERROR = 70;

const ROLES: Readonly<Record<string, () => Promise<{ createHandler(): Handler }>>> = {
  tokenizer: () => import('./tokenizer-role.ts'),
  inference: () => import('./inference-role.ts'),
};

// The parent decides when work is over; a terminal sends its signals to the whole group.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
process.on('disconnect', () => process.exit(0));
// Without these Node prints the message of the error, and that may quote a text.
process.on('uncaughtException', () => process.exit(UNEXPECTED_ERROR));
process.on('unhandledRejection', () => process.exit(UNEXPECTED_ERROR));

const role = ROLES[process.argv[2] ?? ''];
if (role === undefined || process.send === undefined) {
  console.error('worker.ts is started by the service, with the role tokenizer or inference.');
  process.exit(64);
}

// Calls that arrive while the role loads wait here.
const waiting: Call[] = [];
let busy = true;
let handler: Handler;

process.on('message', (call: Call) => {
  waiting.push(call);
  if (!busy) void work();
});

async function work(): Promise<void> {
  busy = true;
  for (let call = waiting.shift(); call !== undefined; call = waiting.shift()) reply(await answer(call));
  busy = false;
}

async function answer({ job, request }: Call): Promise<Reply> {
  try {
    return { job, value: await handler(request) };
  } catch (error) {
    return { job, failed: error instanceof Refusal ? error.message : 'the call failed' };
  }
}

function reply(message: Reply): void {
  process.send?.(message);
}

handler = (await role()).createHandler();
await work();
