/** One look for all plots, drawn without a browser: points over a logarithmic axis, their range, and the knee. */
import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';

export interface Plot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly points: readonly PlotPoint[];
  /** Marked by a line. */
  readonly knee: number;
}

export interface PlotPoint {
  readonly x: number;
  readonly y: number;
  readonly low: number;
  readonly high: number;
}

const COLOR = '#1f5fa8';
const KNEE_COLOR = '#b3421b';

/** @returns an SVG document */
export async function drawPlot({ title, x, y, points, knee }: Plot): Promise<string> {
  const xAxis = {
    field: 'x',
    type: 'quantitative',
    title: x,
    scale: { type: 'log', base: 2, nice: false },
    axis: { values: points.map((point) => point.x), grid: false, format: '~d' },
  } as const;
  const spec: TopLevelSpec = {
    width: 420,
    height: 240,
    background: 'white',
    title: { text: title, anchor: 'start', fontSize: 13 },
    config: { font: 'sans-serif', axis: { labelFontSize: 11, titleFontSize: 11, titleFontWeight: 'normal' } },
    data: { values: [...points] },
    layer: [
      {
        mark: { type: 'area', opacity: 0.15, color: COLOR },
        encoding: { x: xAxis, y: { field: 'low', type: 'quantitative', title: y }, y2: { field: 'high' } },
      },
      {
        mark: { type: 'line', point: true, color: COLOR },
        encoding: { x: xAxis, y: { field: 'y', type: 'quantitative', scale: { zero: true } } },
      },
      {
        data: { values: [{ x: knee, label: `knee at ${knee}` }] },
        layer: [
          { mark: { type: 'rule', strokeDash: [4, 3], color: KNEE_COLOR }, encoding: { x: xAxis } },
          {
            mark: { type: 'text', align: 'left', baseline: 'bottom', dx: 5, dy: -6, color: KNEE_COLOR },
            encoding: { x: xAxis, y: { value: 240 }, text: { field: 'label' } },
          },
        ],
      },
    ],
  };
  return renderSvg(spec);
}

export async function renderSvg(spec: TopLevelSpec): Promise<string> {
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: 'none' });
  return `${await view.toSVG()}\n`;
}
