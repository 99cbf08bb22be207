/** The parser is served beside this page's files, from the package's build for browsers (src/api/playground.ts). */
export { parse } from 'csv-parse/sync';
