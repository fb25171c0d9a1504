/** Other spellings of flags, brought to the one that the verbs know. Needs no schema, so that `--help` starts fast. */

const OTHER_NAMES: ReadonlyMap<string, string> = new Map([['--eval-split', '--eval-fraction']]);

/** Switches that also have a `--no-` form, and so may be written `--packing=false`. */
export const SWITCHES: ReadonlySet<string> = new Set([
  '--packing', '--shuffle', '--train-on-inputs', '--load-best-model-at-end', '--tie-word-embeddings', '--gradient-checkpointing', '--optimizer-in-backward',
  '--bf16', '--fp16', '--bf16-weights', '--offload-optimizer-state', '--chunked-loss', '--optim-8bit-embeddings', '--cpu-offload', '--torch-compile',
  '--sample-packing', '--activation-checkpointing', '--train-on-prompt', '--chunked-cross-entropy',
]);

/** `--max_length` → `--max-length`, `--packing=false` → `--no-packing`, `--eval-split` → `--eval-fraction`; what follows `--` is left alone. */
export function normaliseArgv(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--');
  return argv.map((word, index) => (end !== -1 && index > end ? word : normaliseWord(word)));
}

function normaliseWord(word: string): string {
  const parts = /^(--[A-Za-z0-9][\w-]*)(=.*)?$/s.exec(word);
  if (parts === null) return word;
  const [, name = '', value = ''] = parts;
  const dashed = `--${name.slice(2).replaceAll('_', '-')}`;
  const flag = OTHER_NAMES.get(dashed) ?? dashed;
  if (SWITCHES.has(flag) && value === '=true') return flag;
  if (SWITCHES.has(flag) && value === '=false') return flag.replace('--', '--no-');
  return flag + value;
}
