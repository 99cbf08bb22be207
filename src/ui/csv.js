/** CSV in and out. Reading is the library's work; writing is two rules. */

/** In a line: the one that is there most often outside quotes. */
const DELIMITERS = [',', ';', '\t'];

/**
 * @param {string} content of a file
 * @returns {Promise<{ readonly header: readonly string[], readonly rows: readonly (readonly string[])[] }>}
 */
export async function readCsv(content) {
  const { parse } = await import('./csv-parse.js');
  const firstLine = content.slice(0, content.search(/[\r\n]|$/)).replace(/"[^"]*"/g, '');
  const delimiter = DELIMITERS.reduce((best, one) =>
    firstLine.split(one).length > firstLine.split(best).length ? one : best,
  );
  /** @type {string[][]} */
  const records = parse(content, {
    bom: true,
    delimiter,
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
  });
  const [header = [], ...rows] = records;
  return { header, rows };
}

/**
 * @param {readonly (readonly string[])[]} records
 * @param {boolean} forSpreadsheets whether cells that a spreadsheet would run as a formula get an apostrophe in front
 */
export function writeCsv(records, forSpreadsheets) {
  return `${records
    .map((cells) => cells.map((cell) => quoted(forSpreadsheets ? harmless(cell) : cell)).join(','))
    .join('\r\n')}\r\n`;
}

/** @param {string} cell */
function quoted(cell) {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

/** @param {string} cell */
function harmless(cell) {
  return /^[=+\-@\t\r]/.test(cell) && Number.isNaN(Number(cell)) ? `'${cell}` : cell;
}
