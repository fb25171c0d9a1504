/** Keeps a share of the documents out of training, to evaluate on: a fixed number, drawn by the seed. */

import { FulltuneError } from '../base/errors.ts';
import { RandomStream } from '../base/random.ts';
import { countingUp } from './packing.ts';
import type { TokenFile } from './token-file.ts';

const EVALUATION_STREAM = 0x0e00_0000;

export interface DrawnEvaluation {
  readonly train: TokenFile;
  readonly evaluation: TokenFile;
  /** The first document of the file that is trained on. */
  readonly firstTrained: number;
  readonly notice: string;
}

/**
 * Parts of a split row stay together, unless the file is a single row (a long text): then its parts are drawn.
 * Errors: E_DATA with fewer than two to draw from.
 */
export function drawEvaluation(file: TokenFile, fraction: number, seed: number, datasetPath: string): DrawnEvaluation {
  let rows = 0;
  for (let i = 0; i < file.documents; i++) if (!file.continuesPrevious(i)) rows++;
  const single = rows === 1;
  const units = single ? file.documents : rows;
  if (units < 2) {
    throw new FulltuneError('E_DATA', 'there is only one document, none can be kept for evaluation', {
      where: datasetPath, remedy: 'Leave out eval_fraction, or use --eval-dataset.',
    });
  }
  const count = Math.min(units - 1, Math.max(1, Math.round(units * fraction)));
  const order = new RandomStream(seed, EVALUATION_STREAM).shuffle(countingUp(units));
  const chosen = new Uint8Array(units);
  for (const unit of order.subarray(0, count)) chosen[unit] = 1;

  const train = new Uint32Array(file.documents);
  const evaluation = new Uint32Array(file.documents);
  let trained = 0;
  let evaluated = 0;
  let unit = -1;
  for (let i = 0; i < file.documents; i++) {
    if (single || !file.continuesPrevious(i)) unit++;
    if (chosen[unit] === 1) evaluation[evaluated++] = i;
    else train[trained++] = i;
  }
  return {
    train: file.select(train.slice(0, trained)),
    evaluation: file.select(evaluation.slice(0, evaluated)),
    firstTrained: train[0] ?? 0,
    notice: `${count} of ${units} ${single ? 'parts of the text' : 'rows'} are kept out of training and evaluated on`,
  };
}
