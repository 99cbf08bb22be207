/** What was offered, answered and refused over time, and the replicas that there were. */
import type { TopLevelSpec } from 'vega-lite';

import { renderSvg } from '../plot.ts';
import type { Moment } from './cluster.ts';

const RATES = { offered: '#888888', answered: '#1f5fa8', refused: '#b3421b' } as const;
const REPLICAS = { wanted: '#888888', ready: '#1f5fa8' } as const;

/** @returns an SVG document */
export function drawTimeline(title: string, timeline: readonly Moment[]): Promise<string> {
  const panel = (heading: string, colors: Readonly<Record<string, string>>, last: boolean) =>
    ({
      width: 620,
      height: 150,
      data: {
        values: timeline.flatMap((moment) =>
          Object.keys(colors).map((what) => ({ at: moment.at / 60, what, value: moment[what as keyof Moment] })),
        ),
      },
      mark: { type: 'line', interpolate: 'step-after', strokeWidth: 1.5 },
      encoding: {
        x: { field: 'at', type: 'quantitative', title: last ? 'minutes' : null, axis: { grid: false } },
        y: { field: 'value', type: 'quantitative', title: heading },
        color: {
          field: 'what',
          type: 'nominal',
          title: null,
          scale: { domain: Object.keys(colors), range: Object.values(colors) },
        },
      },
    }) as const;
  const spec: TopLevelSpec = {
    background: 'white',
    title: { text: title, anchor: 'start', fontSize: 13 },
    config: { font: 'sans-serif', axis: { labelFontSize: 11, titleFontSize: 11, titleFontWeight: 'normal' } },
    resolve: { scale: { color: 'independent' } },
    vconcat: [panel('requests a second', RATES, false), panel('replicas', REPLICAS, true)],
  };
  return renderSvg(spec);
}
