/** Colour where it is wanted: on a terminal, unless NO_COLOR is set. */

import * as util from 'node:util';
import { env } from '../base/debug.ts';

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

export interface Paint {
  /** False: `apply` returns its text as it is, and what colour would say must be said with signs. */
  readonly enabled: boolean;
  apply(style: Style, text: string): string;
}

export const PLAIN: Paint = { enabled: false, apply: (_style, text) => text };

// styleText came with Node 20.12; its own look at the stream would drop the colours of text that is put together first and written later.
const COLOURED: Paint = { enabled: true, apply: (style, text) => util.styleText(style, text, { validateStream: false }) };

export function painter({ isTerminal }: { readonly isTerminal: boolean }): Paint {
  return isTerminal && !env.noColor && typeof util.styleText === 'function' ? COLOURED : PLAIN;
}
