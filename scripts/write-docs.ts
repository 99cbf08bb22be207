/**
 * Writes the tables that code is the source of: settings into README.md, errors into docs/errors.md; and those of
 * measurements, from docs/performance/*.json into docs/performance.md.
 *
 *     npm run docs              write them
 *     npm run docs -- --check   exit 1 when a committed table differs
 */
import { problemTable } from '../src/api/problems.ts';
import { configTable } from '../src/config.ts';
import { keepGenerated, replaceMarked } from './generated-file.ts';
import { performancePage } from './performance-docs.ts';

const readme = new URL('../README.md', import.meta.url);
await keepGenerated(readme, 'npm run docs', (present) => replaceMarked(present, 'configuration', configTable()));

const errors = new URL('../docs/errors.md', import.meta.url);
await keepGenerated(errors, 'npm run docs', (present) => replaceMarked(present, 'errors', problemTable()));

const performance = new URL('../docs/performance.md', import.meta.url);
await keepGenerated(performance, 'npm run docs', performancePage);
