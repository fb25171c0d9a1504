/**
 * The one error type for a user's mistakes and the machine's limits. It prints without a stack and the command line exits with 2.
 * Anything else that is thrown is a bug in fulltune and keeps its stack.
 */

export type ErrorCode =
  | 'E_BUDGET' // no plan fits the memory given, or the machine has less than the plan needs
  | 'E_CONFIG' // a setting is misspelt, out of range, or contradicts another
  | 'E_MODEL' // config.json or weights cannot be used
  | 'E_DATA' // a dataset cannot be read or trained on
  | 'E_TEMPLATE' // the chat template is missing or cannot be used for training
  | 'E_FILE' // a file is missing, truncated, or not what it claims to be
  | 'E_DISK' // not enough room on disk
  | 'E_RUN' // the run directory is in the way, or does not hold what is asked for
  | 'E_CHECKPOINT' // a checkpoint is damaged or belongs to another run
  | 'E_DEVICE' // no compiler, no kernel, unsupported processor
  | 'E_RANK' // a process of a run on PyTorch died or gave no sign of life
  | 'E_NUMERICS' // loss or gradients are not finite
  | 'E_SHAPE' // an op was given shapes or dtypes that it does not take
  | 'E_HUB'; // a model or dataset id is not in the local cache

export interface ErrorOptionsFull {
  /** File, line, config key or model path: where to look. */
  readonly where?: string;
  /** What to do next, as a sentence. */
  readonly remedy?: string;
  readonly cause?: unknown;
}

/** `CODE: what is wrong, with the values. Where. What to do next.` */
export class FulltuneError extends Error {
  readonly code: ErrorCode;
  readonly where: string | undefined;
  readonly remedy: string | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptionsFull = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'FulltuneError';
    this.code = code;
    this.where = options.where;
    this.remedy = options.remedy;
  }

  /** The text a user sees: no stack, one sentence per fact. */
  toText(): string {
    const where = this.where === undefined ? '' : ` (${this.where})`;
    const remedy = this.remedy === undefined ? '' : `\n  ${this.remedy}`;
    return `${this.code}: ${this.message}${where}${remedy}`;
  }
}

/** The allowed word nearest to `word` by edit distance, if it is near enough to be a typing mistake. */
export function nearest(word: string, allowed: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of allowed) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min((previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1, substitution));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
