/** Plain text tables: columns padded to their widest cell, numbers to the right. */

export type Align = 'left' | 'right';

/** Visible width: colour escapes count nothing. */
export function visibleWidth(text: string): number {
  // eslint-disable-next-line no-control-regex
  return [...text.replace(/\u001b\[[0-9;]*m/g, '')].length;
}

/** Rows of cells as lines joined with newlines; `header`, if given, is underlined. Columns are left-aligned unless `align` says otherwise. */
export function formatTable(rows: readonly (readonly string[])[], options: { header?: readonly string[]; align?: readonly Align[]; indent?: string } = {}): string {
  const all = options.header === undefined ? rows : [options.header, ...rows];
  const columns = Math.max(0, ...all.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, c) => Math.max(0, ...all.map((row) => visibleWidth(row[c] ?? ''))));
  const line = (row: readonly string[]): string => {
    const cells = widths.map((width, c) => {
      const cell = row[c] ?? '';
      const padding = ' '.repeat(width - visibleWidth(cell));
      return options.align?.[c] === 'right' ? padding + cell : cell + padding;
    });
    return ((options.indent ?? '') + cells.join('  ')).trimEnd();
  };
  const lines = rows.map(line);
  if (options.header !== undefined) {
    lines.unshift(line(options.header), (options.indent ?? '') + widths.map((w) => '─'.repeat(w)).join('  '));
  }
  return lines.join('\n');
}
