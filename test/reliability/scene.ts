/** What a scenario has at hand, and what one says of itself. */
import type { Service } from '../e2e/service.ts';
import type { Client, Load } from './load.ts';
import type { Child } from './process-tree.ts';

export interface Scene {
  readonly service: Service;
  readonly client: Client;
  readonly load: Load;
  /** How long the fault goes on. */
  readonly seconds: number;
  children(role: string): Child[];
  readonly context: { after(cleanup: unknown): void };
}

export interface Scenario {
  /** Settings; called when the scenario begins. */
  env?(): Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  readonly connections?: number;
  readonly textsOfARequest?: number;
  /** Statuses that clients may get; 200 alone by default. */
  readonly expect?: readonly number[];
  /** The service is gone afterwards, as it should be. */
  readonly ends?: boolean;
  run(scene: Scene): Promise<string>;
}
