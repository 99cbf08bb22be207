/** The dashboard's panels as one picture, for eyes, where no Grafana is at hand. */
import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';

import type { Series } from './prometheus.ts';

export interface Drawing {
  readonly title: string;
  /** Legend -> its series. */
  readonly curves: readonly { readonly legend: string; readonly series: Series }[];
}

/** @returns an SVG document: one small graph a panel, three beside each other */
export async function drawPanels(drawings: readonly Drawing[]): Promise<string> {
  const spec: TopLevelSpec = {
    background: 'white',
    columns: 3,
    spacing: 30,
    resolve: { scale: { color: 'independent' } },
    concat: drawings.map(({ title, curves }) => ({
      title: { text: title, anchor: 'start', fontSize: 12 },
      width: 300,
      height: 120,
      data: {
        values: curves.flatMap(({ legend, series: { values } }) =>
          values.map(([time, value]) => ({ legend, time: time * 1000, value: Number(value) })),
        ),
      },
      mark: { type: 'line', point: { size: 8 } },
      encoding: {
        x: { field: 'time', type: 'temporal', title: null },
        y: { field: 'value', type: 'quantitative', title: null },
        color: { field: 'legend', type: 'nominal', title: null, legend: { labelLimit: 180 } },
      },
    })),
  };
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: 'none' });
  return `${await view.toSVG()}\n`;
}
