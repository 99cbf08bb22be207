/** What a replay says, in Markdown that is read as it is in a terminal. */
import type { Policy } from '../../moderation/policy.ts';
import type { Band, Costs, Measured, SweepPoint } from './measure.ts';

export interface Replay {
  readonly policy: Policy;
  readonly models: readonly { readonly name: string; readonly version: string }[];
  readonly score: string;
  readonly costs: Costs;
  readonly n: number;
  /** Texts without an answer, such as empty ones; they are not counted elsewhere. */
  readonly unanswered: number;
  readonly band: Band;
  readonly present: Measured;
  readonly sweep: readonly SweepPoint[];
  readonly cheapest: Measured & { readonly band: Band };
}

const HEAD = [
  '| review from | block from | precision | recall | caught | review load | cost for 1,000 |',
  '|---|---|---|---|---|---|---|',
];
/** Every so many hundredths a line. */
const STEP = 5;

export function report(replay: Replay): string {
  const { policy, models, score, costs, n, unanswered, band, present, sweep, cheapest } = replay;
  const { counts } = present;
  const named = models.map(({ name, version }) => `${name} ${version}`).join(', ');
  const { falsePositive, falseNegative, review } = costs;
  return [
    `Policy ${policy.name} ${policy.version} with ${named} on ${n} texts (${unanswered} more had no answer).`,
    `Costs: ${falsePositive} a harmless text blocked, ${falseNegative} an offensive one allowed, ${review} a review.`,
    '',
    '| | offensive | harmless |',
    '|---|---|---|',
    ...(['allow', 'review', 'block'] as const).map(
      (decision) => `| ${decision} | ${counts[decision].offensive} | ${counts[decision].harmless} |`,
    ),
    '',
    'As it is:',
    '',
    ...HEAD,
    row(band, present),
    '',
    `Another block threshold for ${score}:`,
    '',
    ...HEAD,
    ...sweep
      .filter(({ threshold }) => Math.round(threshold * 100) % STEP === 0)
      .map((point) => row({ review: Math.min(band.review, point.threshold), block: point.threshold }, point)),
    '',
    `The lowest cost on these texts, in steps of 0.05:`,
    '',
    ...HEAD,
    row(cheapest.band, cheapest),
    '',
    'Precision and recall are those of block; caught is blocked or reviewed, of the offensive texts.',
    '',
  ].join('\n');
}

function row(band: Band, { precision, recall, caught, reviewLoad, cost }: Measured): string {
  const share = (value: number | undefined) => (value === undefined ? '—' : value.toFixed(3));
  const cells = [
    band.review.toFixed(3),
    band.block.toFixed(3),
    share(precision),
    share(recall),
    share(caught),
    share(reviewLoad),
    cost.toFixed(1),
  ];
  return `| ${cells.join(' | ')} |`;
}
