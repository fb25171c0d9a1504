/** What becomes of the times of several rounds. */

/**
 * @typedef {object} Summary
 * @property {number} median
 * @property {number} best the smallest
 * @property {number} spread (largest − smallest) / median
 */

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * @param {readonly number[]} times
 * @returns {Summary}
 */
export function summary(times) {
  const [least, most, middle] = [Math.min(...times), Math.max(...times), median(times)];
  return { median: middle, best: least, spread: (most - least) / middle };
}

/**
 * The median of a / b of the same round: what slows the whole machine for a while cancels.
 * @param {readonly number[]} a
 * @param {readonly number[]} b
 */
export function pairedRatio(a, b) {
  return median(a.map((value, round) => value / b[round]));
}

/** @param {readonly number[]} values */
export function harmonicMean(values) {
  return values.length / values.reduce((sum, value) => sum + 1 / value, 0);
}
