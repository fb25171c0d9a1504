/** Text with its trained tokens marked: by colour, or by ‹ and › where there is none. */

import type { Paint } from './colour.ts';
import { formatCount } from './numbers.ts';

export interface Piece {
  readonly text: string;
  readonly trained: boolean;
}

export interface RowViewOptions {
  /** Characters shown; the rest is counted. A long untrained beginning is shortened so that the first trained ones are seen. Default: all. */
  readonly most?: number;
  readonly indent?: string;
}

/** One row. Control characters are shown as pictures, so that data cannot move the cursor. */
export function renderRow(pieces: readonly Piece[], paint: Paint, { most = Number.POSITIVE_INFINITY, indent = '' }: RowViewOptions = {}): string {
  const total = pieces.reduce((sum, { text }) => sum + [...text].length, 0);
  const gap = total > most ? skipped(pieces, most) : { start: 0, length: 0 };
  const end = most + gap.length;
  let position = 0;
  let text = '';
  for (const { text: whole, trained } of joined(pieces)) {
    const characters = [...whole];
    const show = (from: number, to: number): void => {
      const shown = visible(characters.slice(Math.max(0, from - position), Math.max(0, to - position)).join(''));
      if (shown !== '') text += trained ? marked(shown, paint) : paint.apply('dim', shown);
    };
    const after = position + characters.length;
    show(position, Math.min(after, gap.start));
    if (gap.length > 0 && position <= gap.start && gap.start < after) text += ` … (${counted(gap.length)}) … `;
    show(Math.max(position, gap.start + gap.length), Math.min(after, end));
    position = after;
  }
  if (total > end) text += ` … (${counted(total - end, 'more ')})`;
  return text.split('\n').map((line) => indent + line).join('\n');
}

/** A shorter gap would take more room than it saves. */
const LEAST_GAP = 20;

/** What of a long untrained beginning is left out, so that at least half of the room is for the first trained characters and what follows. */
function skipped(pieces: readonly Piece[], most: number): { readonly start: number; readonly length: number } {
  let before = 0;
  for (const { text, trained } of pieces) {
    if (trained && text !== '') break;
    before += [...text].length;
  }
  const total = pieces.reduce((sum, { text }) => sum + [...text].length, 0);
  const room = Math.floor(most / 2);
  const length = Math.min(before - room, total - most);
  return before === total || length < LEAST_GAP ? { start: 0, length: 0 } : { start: Math.floor(room / 2), length };
}

function counted(characters: number, more = ''): string {
  return `${formatCount(characters)} ${more}character${characters === 1 ? '' : 's'}`;
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
