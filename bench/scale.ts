import type { Command } from './command.ts'; export const scale: Command = async () => { throw new Error('x'); };
