/** What a trainer's config looks like from outside, and which keys become what. */

import type { ImportRules, ImportSheet } from './import-sheet.ts';

export const IMPORT_FORMATS = ['trl', 'axolotl', 'llama-factory'] as const;
export type ImportFormatName = (typeof IMPORT_FORMATS)[number];

export interface ImportFormat {
  readonly name: ImportFormatName;
  readonly title: string;
  /** Published keys. */
  readonly keys: ReadonlySet<string>;
  /** Keys that only this trainer has. */
  readonly signs: readonly string[];
  /** Keys that it has, too. */
  readonly weakSigns: readonly string[];
  readonly rules: ImportRules;
  /** Their defaults where ours differ and the plan depends on it; `all` is what the file says. */
  readonly defaults: (sheet: ImportSheet, all: Readonly<Record<string, unknown>>) => void;
}
