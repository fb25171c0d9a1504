/** What the machine can do at most, by itself: multiply-adds and streams, on one thread and on all. Everything else is measured against these. */

import { Limits } from './support/limits.js';
import { allThreads, giga, percent, record, showTable } from './support/report.js';
import { summary } from './support/statistics.js';

export const title = 'multiply-adds in registers, and streams';

/** Larger than the caches. */
const BYTES = 128 * 1024 * 1024;
const STREAMS = {
  read: { reads: 1, writes: 0, inPlace: 0 },
  write: { reads: 0, writes: 1, inPlace: 0 },
  copy: { reads: 1, writes: 1, inPlace: 0 },
  triad: { reads: 2, writes: 1, inPlace: 0 },
  'in place, 1 read 1 write': { reads: 1, writes: 1, inPlace: 1 },
  'in place, 4 reads 3 writes': { reads: 4, writes: 3, inPlace: 3 },
};

/** @param {import('./support/options.js').Options} options */
export async function run({ rounds }) {
  const limits = await Limits.start();
  try {
    const cases = [...new Set([1, allThreads])].flatMap((threads) => [
      { name: 'multiply-add', unit: 'GFLOP/s', threads, measure: () => limits.measureFma(threads) },
      ...Object.entries(STREAMS).map(([name, stream]) => ({ name, unit: 'GB/s', threads, measure: () => limits.measureStream({ ...stream, bytes: BYTES }, threads) })),
    ]);
    const rates = cases.map(() => /** @type {number[]} */ ([]));
    for (let round = -1; round < Math.max(10, rounds); round++) {
      for (const [index, { measure }] of cases.entries()) {
        const rate = await measure();
        if (round >= 0) rates[index].push(rate);
      }
    }
    const rows = cases.map(({ name, unit, threads }, index) => {
      const times = summary(rates[index].map((rate) => 1 / rate));
      return { name, unit, threads, best: 1 / times.best, median: 1 / times.median, spread: times.spread };
    });
    showTable(['', 'threads', 'best', 'median', 'spread'], rows.map(({ name, unit, threads, best, median, spread }) => [name, threads, `${giga(best)} ${unit}`, giga(median), percent(spread, 0)]));
    record('limits', { isa: limits.isa, limits: rows });
  } finally {
    await limits.stop();
  }
}
