/** Other spellings of flags, brought to the one that the verbs know: `--max_length` → `--max-length`, `--packing=false` → `--no-packing`. */

import { CONFIG_FLAGS } from './flag-names.ts';

const OTHER_NAMES: ReadonlyMap<string, string> = new Map([['--eval-split', '--eval-fraction']]);

/** Only names that are flags are touched, so that a value such as `--prompt my_text` stays as it is. */
export function normaliseArgv(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--');
  return argv.map((word, index) => (end !== -1 && index > end ? word : normaliseWord(word)));
}

function normaliseWord(word: string): string {
  if (!word.startsWith('--')) return word;
  const equals = word.indexOf('=');
  const name = equals === -1 ? word : word.slice(0, equals);
  const value = equals === -1 ? '' : word.slice(equals);
  const dashed = `--${name.slice(2).replaceAll('_', '-')}`;
  const flag = OTHER_NAMES.get(dashed) ?? dashed;
  if (!CONFIG_FLAGS.has(flag)) return word;
  if (value === '=true') return flag;
  if (value === '=false') return flag.replace('--', '--no-');
  return flag + value;
}
