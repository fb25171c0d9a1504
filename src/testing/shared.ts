/** Where tests find real models, data and reference numbers: the folder `shared` beside the checkout. Absent, a test fails and says so. */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../shared/', import.meta.url));

/** The absolute path of `shared/<path>`. Throws when it is not there: a test that needs it must not pass without it. */
export function sharedPath(path: string): string {
  const full = root + path;
  if (!existsSync(full)) {
    throw new Error(`this test needs ../shared/${path} beside the checkout (real weights, data or reference numbers), and it is not there`);
  }
  return full;
}
