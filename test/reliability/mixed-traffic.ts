/** What a service in use is asked: texts alone and in groups, long ones, explanations, foreign protocols, and mistakes. */
import type { LoadRequest } from '../../bench/load.ts';
import type { SizedText, Workload } from '../../bench/workload.ts';

/** Kinds of requests, by the number that a LoadRequest has; 0 is a single text. */
export const KINDS = ['single', 'group', 'explained', 'long', 'perspective', 'openai', 'tei', 'mistake'] as const;
export type Kind = (typeof KINDS)[number];

/** Of a hundred requests. */
const SHARES: Readonly<Record<Kind, number>> = {
  single: 60,
  group: 15,
  explained: 2,
  long: 1,
  perspective: 8,
  openai: 8,
  tei: 4,
  mistake: 2,
};
/** Texts of a group. */
const GROUP = 8;
/** Texts that one long text is made of: some windows. */
const LONG = 30;
const HUNDREDS = 5;

/** @returns requests to send in turn, in the shares above */
export function mixedTraffic({ manifest, distinct }: Workload): LoadRequest[] {
  let next = 0;
  const take = (): SizedText => distinct[next++ % distinct.length] as SizedText;
  const model = manifest.name;
  const make: Readonly<Record<Kind, () => Omit<LoadRequest, 'kind'>>> = {
    single: () => of([take()], ([text]) => ({ model, text })),
    group: () => of(Array.from({ length: GROUP }, take), (texts) => ({ model, texts })),
    explained: () => of([take()], ([text]) => ({ model, text, explain: true })),
    long: () => of(Array.from({ length: LONG }, take), (texts) => ({ model, text: texts.join(' ') }), 1),
    perspective: () => ({
      ...of([take()], ([text]) => ({
        comment: { text },
        languages: ['en'],
        requestedAttributes: { TOXICITY: {} },
        doNotStore: true,
      })),
      path: '/v1alpha1/comments:analyze',
    }),
    openai: () => ({ ...of([take()], ([input]) => ({ input })), path: '/v1/moderations' }),
    tei: () => ({ ...of([take()], ([inputs]) => ({ inputs })), path: '/predict' }),
    mistake: () => ({ body: { text: 5 }, texts: 0, tokens: 0 }),
  };
  return KINDS.flatMap((kind, number) =>
    Array.from({ length: HUNDREDS * SHARES[kind] }, () => ({ ...make[kind](), kind: number })),
  );
}

/** The status that a request of each kind must get. */
export const expectedStatus = (kind: number): number => (KINDS[kind] === 'mistake' ? 400 : 200);

function of(texts: readonly SizedText[], body: (texts: string[]) => unknown, count = texts.length) {
  return {
    body: body(texts.map(({ text }) => text)),
    texts: count,
    tokens: texts.reduce((sum, { tokens }) => sum + tokens, 0),
  };
}
