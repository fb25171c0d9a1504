/** Times or rates of several rounds as lines of a table. */

import { summary } from './statistics.js';

/**
 * @param {string} name
 * @param {readonly number[]} milliseconds
 * @param {number} [goal] milliseconds at most
 */
export function timeLine(name, milliseconds, goal) {
  return { name, unit: 'ms', ...summary(milliseconds), ...(goal === undefined ? {} : { goal }) };
}

/**
 * @param {string} name
 * @param {number} amount what was done in each of the times
 * @param {string} unit of amount per second
 * @param {readonly number[]} milliseconds
 * @param {string} [note]
 */
export function rateLine(name, amount, unit, milliseconds, note) {
  const { median, best, spread } = summary(milliseconds);
  return { name, unit, median: (amount / median) * 1000, best: (amount / best) * 1000, spread, ...(note === undefined ? {} : { note }) };
}
