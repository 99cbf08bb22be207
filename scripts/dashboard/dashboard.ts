/** Grafana's form of the panels: a grid of 24 columns, four statistics or two graphs side by side. */
import { type Panel, ROWS } from './panels.ts';

const DATASOURCE = { type: 'prometheus', uid: 'prometheus' };
const COLUMNS = 24;
const SIZE = { stat: { w: 6, h: 5 }, graph: { w: 12, h: 8 } } as const;

/** @returns what a dashboard file holds (schema version 38, read by Grafana 9.5 and newer) */
export function dashboard() {
  const panels: object[] = [];
  let [x, y, height] = [0, 0, 0];
  const newLine = () => {
    y += height;
    [x, height] = [0, 0];
  };
  for (const row of ROWS) {
    newLine();
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { x, y, w: COLUMNS, h: 1 },
    });
    y += 1;
    for (const panel of row.panels) {
      const { w, h } = SIZE[panel.stat ? 'stat' : 'graph'];
      if (x + w > COLUMNS) newLine();
      panels.push({ id: panels.length + 1, gridPos: { x, y, w, h }, ...panelOf(panel) });
      x += w;
      height = Math.max(height, h);
    }
  }
  return {
    uid: 'dslora',
    title: 'DS-LoRA service',
    tags: ['dslora'],
    timezone: 'browser',
    schemaVersion: 38,
    editable: false,
    refresh: '30s',
    time: { from: 'now-3h', to: 'now' },
    templating: {
      list: [
        {
          name: 'model',
          label: 'Model',
          type: 'query',
          datasource: DATASOURCE,
          query: { query: 'label_values(dslora_model_info, model)', refId: 'model' },
          definition: 'label_values(dslora_model_info, model)',
          refresh: 2,
          includeAll: true,
          allValue: '.+',
          multi: true,
          current: { selected: true, text: 'All', value: '$__all' },
          sort: 1,
        },
      ],
    },
    annotations: {
      list: [
        {
          name: 'Alerts',
          datasource: DATASOURCE,
          enable: true,
          iconColor: 'red',
          expr: 'ALERTS{alertname=~"Dslora.*",alertstate="firing"}',
          titleFormat: '{{alertname}}',
          step: '60s',
        },
      ],
    },
    panels,
  };
}

function panelOf({ title, description, unit, queries, stat, thresholds }: Panel) {
  return {
    type: stat ? 'stat' : 'timeseries',
    title,
    description,
    datasource: DATASOURCE,
    targets: Object.entries(queries).map(([legendFormat, expr], index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: DATASOURCE,
      expr,
      legendFormat,
      ...(stat ? { instant: true } : { range: true }),
    })),
    fieldConfig: {
      defaults: {
        unit,
        ...(unit === 'percentunit' && stat ? { decimals: 3 } : {}),
        ...(stat
          ? {}
          : {
              min: 0,
              custom: {
                fillOpacity: 8,
                showPoints: 'never',
                ...(thresholds ? { thresholdsStyle: { mode: 'line' } } : {}),
              },
            }),
        color: { mode: stat ? 'thresholds' : 'palette-classic' },
        thresholds: {
          mode: 'absolute',
          steps: [
            { color: 'green', value: null },
            ...(thresholds === undefined
              ? []
              : [
                  { color: 'orange', value: thresholds[0] },
                  { color: 'red', value: thresholds[1] },
                ]),
          ],
        },
      },
      overrides: [],
    },
    options: stat
      ? { colorMode: 'value', graphMode: 'none', reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false } }
      : {
          legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
          tooltip: { mode: 'multi', sort: 'desc' },
        },
  };
}
