/** The sweep as a picture: shares on the left, cost below, thresholds from left to right. SVG without a library. */
import type { SweepPoint } from './measure.ts';

interface Line {
  readonly name: string;
  readonly color: string;
  readonly dash?: string;
  value(point: SweepPoint): number | undefined;
}

const SHARES: readonly Line[] = [
  { name: 'precision of block', color: '#1f5fa8', value: (point) => point.precision },
  { name: 'recall of block', color: '#b3421b', value: (point) => point.recall },
  { name: 'blocked or reviewed', color: '#b3421b', dash: '5 4', value: (point) => point.caught },
  { name: 'review load', color: '#4c7a34', value: (point) => point.reviewLoad },
];
const COST: Line = { name: 'cost for 1,000 texts', color: '#333333', value: (point) => point.cost };

const LEFT = 56;
const WIDTH = 480;
const PANEL = { shares: { top: 48, height: 220 }, cost: { top: 310, height: 110 } };
const SIZE = { width: 720, height: 470 };

/** @param present where the policy blocks now; marked */
export function drawSweep(title: string, points: readonly SweepPoint[], present: number): string {
  const highest = Math.max(...points.map(({ cost }) => cost), Number.MIN_VALUE);
  const { shares, cost } = PANEL;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIZE.width} ${SIZE.height}" font-family="sans-serif" font-size="12" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${SIZE.width}" height="${SIZE.height}" fill="white"/>`,
    label(LEFT, 24, title, { weight: 'bold' }),
    ...axis(shares, [0, 0.25, 0.5, 0.75, 1], 1, (value) => String(value)),
    ...axis(cost, [0, highest], highest, (value) => value.toFixed(0)),
    ...[...SHARES.map((line) => curve(line, points, shares, 1)), curve(COST, points, cost, highest)],
    ...SHARES.map((line, index) => legend(line, shares.top + 12 + index * 20)),
    legend(COST, cost.top + 12),
    ...[0, 0.2, 0.4, 0.6, 0.8, 1].map((tick) =>
      label(x(tick), cost.top + cost.height + 18, tick.toFixed(1), { anchor: 'middle' }),
    ),
    label(LEFT + WIDTH / 2, cost.top + cost.height + 36, 'block threshold', { anchor: 'middle' }),
    `<line x1="${x(present)}" x2="${x(present)}" y1="${shares.top}" y2="${cost.top + cost.height}" stroke="#888" stroke-dasharray="2 3"/>`,
    label(x(present), shares.top - 6, `now ${present.toFixed(2)}`, { anchor: 'middle' }),
    '</svg>',
  ];
  return `${parts.join('\n')}\n`;
}

interface Panel {
  readonly top: number;
  readonly height: number;
}

const x = (share: number) => round(LEFT + share * WIDTH);
const y = ({ top, height }: Panel, value: number, highest: number) => round(top + height * (1 - value / highest));
const round = (value: number) => Math.round(value * 10) / 10;

function axis(panel: Panel, ticks: readonly number[], highest: number, shown: (value: number) => string): string[] {
  return ticks.flatMap((tick) => {
    const at = y(panel, tick, highest);
    return [
      `<line x1="${LEFT}" x2="${LEFT + WIDTH}" y1="${at}" y2="${at}" stroke="#ddd"/>`,
      label(LEFT - 8, at + 4, shown(tick), { anchor: 'end' }),
    ];
  });
}

function curve({ color, dash, value }: Line, points: readonly SweepPoint[], panel: Panel, highest: number): string {
  const known = points.flatMap((point) => {
    const found = value(point);
    return found === undefined ? [] : [`${x(point.threshold)},${y(panel, found, highest)}`];
  });
  return `<polyline points="${known.join(' ')}" fill="none" stroke="${color}" stroke-width="2"${dashed(dash)}/>`;
}

function legend({ name, color, dash }: Line, at: number): string {
  const from = LEFT + WIDTH + 16;
  const line = `<line x1="${from}" x2="${from + 22}" y1="${at - 4}" y2="${at - 4}" stroke="${color}" stroke-width="2"${dashed(dash)}/>`;
  return `${line}${label(from + 28, at, name)}`;
}

const dashed = (dash: string | undefined) => (dash === undefined ? '' : ` stroke-dasharray="${dash}"`);

function label(at: number, down: number, text: string, { anchor = 'start', weight = 'normal' } = {}): string {
  return `<text x="${at}" y="${down}" text-anchor="${anchor}" font-weight="${weight}">${escaped(text)}</text>`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
