import type { Command } from './command.ts'; export const profile: Command = async () => { throw new Error('x'); };
