/** A terminal that keeps what is written to it. */

import { PLAIN, type Paint } from '../colour.ts';
import type { Terminal } from '../terminal.ts';

export interface Recorder extends Terminal {
  readonly out: string;
  readonly err: string;
}

export function recorder(options: { readonly live?: boolean; readonly columns?: number; readonly paint?: Paint } = {}): Recorder {
  let out = '';
  let err = '';
  return {
    live: options.live ?? false,
    columns: options.columns ?? 120,
    paint: options.paint ?? PLAIN,
    write: (text) => {
      out += text;
    },
    writeError: (text) => {
      err += text;
    },
    get out() {
      return out;
    },
    get err() {
      return err;
    },
  };
}

/** Colour as visible signs. */
export const SIGNS: Paint = { enabled: true, apply: (style, text) => `<${style}:${text}>` };
