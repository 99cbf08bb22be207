import type { Command } from './command.ts'; export const curves: Command = async () => { throw new Error('x'); };
