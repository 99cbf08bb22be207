/**
 * Writes Grafana's dashboard from the table of its panels (scripts/dashboard/panels.ts).
 *
 *     npm run dashboard              write it
 *     npm run dashboard -- --check   exit 1 when the committed file differs
 */
import { dashboard } from './dashboard/dashboard.ts';
import { keepGenerated } from './generated-file.ts';

const file = new URL('../monitoring/grafana/dashboards/dslora.json', import.meta.url);
await keepGenerated(file, 'npm run dashboard', () => `${JSON.stringify(dashboard(), null, 2)}\n`);
