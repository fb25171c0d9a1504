/** Text with its trained tokens marked: by colour, or by ‹ and › where there is none. */

import type { Paint } from './colour.ts';
import { formatCount } from './numbers.ts';

export interface Piece {
  readonly text: string;
  readonly trained: boolean;
}

export interface RowViewOptions {
  /** Characters shown; the rest is counted. Default: all. */
  readonly most?: number;
  readonly indent?: string;
}

/** One row. Control characters are shown as pictures, so that data cannot move the cursor. */
export function renderRow(pieces: readonly Piece[], paint: Paint, { most = Number.POSITIVE_INFINITY, indent = '' }: RowViewOptions = {}): string {
  const total = pieces.reduce((sum, { text }) => sum + [...text].length, 0);
  let left = most;
  let text = '';
  for (const { text: whole, trained } of joined(pieces)) {
    const shown = [...whole].slice(0, left);
    left -= shown.length;
    if (shown.length > 0) text += trained ? marked(visible(shown.join('')), paint) : paint.apply('dim', visible(shown.join('')));
  }
  if (total > most) text += ` … (${formatCount(total - most)} more characters)`;
  return text.split('\n').map((line) => indent + line).join('\n');
}

/** Colour is set anew on each line, since an indent or a pager may stand between them. */
function marked(text: string, paint: Paint): string {
  return paint.enabled ? text.split('\n').map((line) => (line === '' ? '' : paint.apply('green', line))).join('\n') : `‹${text}›`;
}

function joined(pieces: readonly Piece[]): readonly Piece[] {
  const result: Piece[] = [];
  for (const piece of pieces) {
    const last = result.at(-1);
    if (piece.text === '') continue;
    if (last !== undefined && last.trained === piece.trained) result[result.length - 1] = { text: last.text + piece.text, trained: piece.trained };
    else result.push(piece);
  }
  return result;
}

function visible(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b-\u001f]/g, (character) => String.fromCodePoint(0x2400 + (character.codePointAt(0) ?? 0))).replace(/[\u007f-\u009f]/g, '␡');
}
