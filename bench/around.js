/** What lies around the steps of a run. Words: start-up, planning, data, checkpoints; default all. */

import { checkpoints } from './around/checkpoints.js';
import { data } from './around/data.js';
import { planning } from './around/planning.js';
import { startUp } from './around/start-up.js';
import { percent, record, showTable } from './support/report.js';

export const title = 'start-up, planning, tokenising and packing, checkpoints';

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {number} median
 * @property {number} best
 * @property {number} spread
 * @property {string} unit
 * @property {number} [goal] in the unit: at most, for times
 * @property {string} [note]
 */

/** @type {Readonly<Record<string, (options: import('./support/options.js').Options) => Promise<readonly Line[]>>>} */
const PARTS = { 'start-up': startUp, planning, data, checkpoints };

/** @param {import('./support/options.js').Options} options */
export async function run(options) {
  const unknown = options.words.find((word) => !Object.hasOwn(PARTS, word));
  if (unknown !== undefined) throw new RangeError(`'${unknown}' is none of ${Object.keys(PARTS).join(', ')}`);
  for (const [name, part] of Object.entries(PARTS)) {
    if (options.words.length > 0 && !options.words.includes(name)) continue;
    const lines = await part(options);
    console.log('');
    showTable([name, 'median', 'best', 'spread', 'goal'], lines.map(({ name: what, median, best, spread, unit, goal, note }) => [
      what, `${figure(median)} ${unit}`, figure(best), percent(spread, 0), goal === undefined ? (note ?? '') : `${median <= goal ? 'met' : 'MISSED'}: at most ${goal}`,
    ]));
    record('around', { part: name, rounds: options.rounds, lines });
  }
}

const figure = (/** @type {number} */ value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
