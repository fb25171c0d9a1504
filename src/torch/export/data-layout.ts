/** How the rows of a dataset look, read off its first row: trainers must be told. */

import { layoutOf, type Layout } from '../../data/parse-row.ts';
import { datasetKind, readRows } from '../../data/read-rows.ts';

/** `txt`: a file of plain text. */
export type DataLayout = Layout | 'txt';

/** Undefined when there is no such file here: it may lie where the run will be. Throws E_DATA for a file that cannot be read. */
export function dataLayout(path: string, exists: (path: string) => boolean): DataLayout | undefined {
  if (path === '' || !exists(path)) return undefined;
  if (datasetKind(path) === 'txt') return 'txt';
  for (const { value, where } of readRows(path)) return layoutOf(value, where);
  return undefined;
}
