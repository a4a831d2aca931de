/** Tables of text: columns aligned left or right, no boxes. */

/** One column of a table. */
export interface Column {
  readonly title: string;
  /** Numbers are aligned right. */
  readonly align?: 'left' | 'right';
}

/**
 * The lines of a table, title line first, two spaces between columns, no spaces at line ends.
 *
 * @param rows cells in the order of the columns; a missing cell is empty
 * @example formatTable([{ title: 'size', align: 'right' }], [['16 B']]) // ['size', '16 B']
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string[] {
  const titles = columns.map(({ title }) => title);
  const widths = columns.map(({ title }, at) =>
    rows.reduce((width, row) => Math.max(width, (row[at] ?? '').length), title.length),
  );
  return [titles, ...rows].map((row) =>
    columns
      .map(({ align }, at) => {
        const cell = row[at] ?? '';
        const width = widths[at] ?? 0;
        return align === 'right' ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

/** The lines of a list of names and values, values in one column. */
export function formatFields(
  fields: readonly (readonly [name: string, value: string])[],
): string[] {
  const width = fields.reduce((most, [name]) => Math.max(most, name.length), 0);
  return fields.map(([name, value]) => `${name.padEnd(width)}  ${value}`.trimEnd());
}
