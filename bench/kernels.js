/**
 * Single ops on the cpu, as programs of one node, against the limits of the same run: products and attention against the multiply-add rate, all
 * else against the stream that reads and writes as many arrays of that size. Words: products, attention, memory, optimizers; default all.
 */

import { bytesMoved, opOf } from '../dist/ops/index.js';
import { byteCount } from '../dist/graph/shape.js';
import { startOpenBlas } from './peers/openblas/openblas.js';
import { KERNEL_CASES } from './support/kernel-cases.js';
import { buildLimits, Limits } from './support/limits.js';
import { allThreads, percent, record, showTable } from './support/report.js';
import { buildsOf } from './support/revision.js';
import { inTurns } from './support/rounds.js';
import { harmonicMean, median, pairedRatio, summary } from './support/statistics.js';
import { startWorker } from './support/worker.js';

/** @typedef {import('./support/kernel-cases.js').KernelCase} KernelCase */

export const title = 'products, attention, pointwise, norms and optimizers, each against its limit';

const OP_WORKER = new URL('workers/op.js', import.meta.url).pathname;
/** A measurement is the mean of as many runs as take about this long. */
const SECONDS = 0.02;
/** OpenBLAS's threads look for more work so long before they sleep, and then some. */
const OPENBLAS_SPIN_MS = 100;
const GUESSED_FLOPS_PER_SECOND = 1e11;
const GUESSED_BYTES_PER_SECOND = 2e10;

/** @param {import('./support/options.js').Options} options */
export async function run(options) {
  const only = options.values['only'];
  const sets = options.words.length === 0 ? ['products', 'attention', 'memory', 'optimizers'] : options.words;
  const cases = KERNEL_CASES.filter(({ set, name }) => sets.includes(set) && (only === undefined || name.includes(String(only))));
  if (cases.length === 0) throw new RangeError(`no case of ${sets.join(', ')} has '${String(only ?? '')}' in its name`);
  const builds = buildsOf(options);
  buildLimits();
  if (options.prepare) return;
  for (const threads of options.threads ?? [...new Set([1, allThreads])]) await measureWith(threads, cases, builds, options);
}

/**
 * @param {number} threads
 * @param {readonly KernelCase[]} cases
 * @param {readonly import('./support/revision.js').Build[]} builds
 * @param {import('./support/options.js').Options} options
 */
async function measureWith(threads, cases, builds, { rounds, peers }) {
  const limits = await Limits.start();
  const workers = [];
  try {
    const contestants = [];
    for (const { name, dist, env } of builds) {
      const worker = await startWorker([process.execPath, OP_WORKER, dist, String(threads)], { env });
      workers.push(worker);
      contestants.push({ name, measure: ({ op, inputs, attrs, overwrites, ...rest }) => worker.ask({ op, inputs, attrs, overwrites, repeats: repeatsOf({ op, inputs, attrs, ...rest }) }) });
    }
    if (peers && cases.some(isF32Product)) {
      const worker = await startOpenBlas(threads);
      workers.push(worker);
      contestants.push({
        name: `OpenBLAS ${worker.greeting['version']} ${worker.greeting['kernel']}`, takes: isF32Product, settleMs: OPENBLAS_SPIN_MS,
        measure: (testCase) => worker.ask(`${testCase.product.layout} ${testCase.product.tokens} ${testCase.product.n} ${testCase.product.k} ${repeatsOf(testCase)}`),
      });
    }
    const stream = { name: 'the stream beside it', takes: isMemoryBound, measure: async (testCase) => ({ ms: (bytesOf(testCase) / (await limits.measureStream(streamOf(testCase), threads))) * 1000 }) };
    const answers = await inTurns([...contestants, stream], cases, rounds, async () => {
      await limits.measureFma(threads);
    });
    const allTimes = answers.map((ofCases) => ofCases.map((ofRounds) => ofRounds.map(({ ms }) => ms)));
    const [times, besides] = [allTimes.slice(0, -1), allTimes[allTimes.length - 1]];
    const fma = await limits.fma(threads);
    const cells = [];
    for (const [index, testCase] of cases.entries()) {
      const work = testCase.flops ?? bytesOf(testCase);
      const limit = isMemoryBound(testCase) ? await limits.stream(streamOf(testCase), threads) : fma;
      cells.push({ testCase, work, limit, times: times.map((ofCases) => ofCases[index]), beside: besides[index] });
    }
    const names = contestants.map(({ name }) => name);
    console.log(`\n${workers[0].greeting['device']}, multiply-add limit ${(fma / 1e9).toFixed(1)} GFLOP/s, ${times[0][0].length} rounds; shares of the limit, best of the rounds`);
    for (const set of new Set(cases.map((one) => one.set))) showSet(set, cells.filter(({ testCase }) => testCase.set === set), names);
    record('kernels', {
      threads, device: workers[0].greeting['device'], limitFlopsPerSecond: fma, rounds: times[0][0].length, contestants: names,
      cells: cells.map(({ testCase, work, limit, times: ofContestants, beside }) => ({
        set: testCase.set, name: testCase.name, limit, rates: ofContestants.map((ms) => (ms.length === 0 ? null : { ...rateOf(work, ms), ...(beside.length === 0 ? {} : { beside: pairedRatio(beside, ms) }) })),
      })),
    });
  } finally {
    for (const worker of workers) await worker.stop();
    await limits.stop();
  }
}

const isMemoryBound = (/** @type {KernelCase} */ { flops }) => flops === undefined;
const isF32Product = (/** @type {KernelCase} */ { product }) => product?.dtype === 'f32';

/** @param {KernelCase} testCase */
function bytesOf({ op, inputs, attrs }) {
  return bytesMoved(op, inputs, opOf(op).infer(inputs, attrs), attrs);
}

/** @param {KernelCase} testCase */
function repeatsOf(testCase) {
  const seconds = isMemoryBound(testCase) ? bytesOf(testCase) / GUESSED_BYTES_PER_SECOND : testCase.flops / GUESSED_FLOPS_PER_SECOND;
  return Math.min(20, Math.max(1, Math.round(SECONDS / seconds)));
}

/**
 * The stream with the same number of large arrays, read, written and written in place, and the same bytes in all.
 * @param {KernelCase} testCase
 * @returns {import('./support/limits.js').Stream}
 */
function streamOf(testCase) {
  const { op, inputs, attrs, overwrites = [] } = testCase;
  const outputs = opOf(op).infer(inputs, attrs);
  const largest = Math.max(...[...inputs, ...outputs].map((type) => byteCount(type)));
  const isLarge = (/** @type {any} */ type) => byteCount(type) * 4 >= largest;
  const writes = outputs.filter(isLarge).length;
  const reads = testCase.reads ?? Math.min(5, inputs.filter(isLarge).length);
  const over = [...(opOf(op).mustOverwrite?.(attrs) ?? []), ...overwrites].filter(({ output }) => isLarge(outputs[output]));
  return { reads, writes, inPlace: over.length, bytes: Math.round(bytesOf(testCase) / (reads + writes) / 4096) * 4096 };
}

/** @param {number} work @param {readonly number[]} ms */
function rateOf(work, ms) {
  const { median: middle, best, spread } = summary(ms);
  return { median: (work / middle) * 1000, best: (work / best) * 1000, spread };
}

function showSet(set, cells, names) {
  const share = (cell, who, which = 'best') => rateOf(cell.work, cell.times[who])[which] / cell.limit;
  console.log('');
  if (set === 'products') showProducts(cells, share);
  else {
    const hasStream = cells[0].beside.length > 0;
    showTable([set, 'limit', 'rate', 'share', 'by the median', ...(hasStream ? ['beside'] : []), 'spread', ...(set === 'optimizers' ? ['time of the first'] : []), ...ratioHeads(names)], cells.map((cell) => {
      const { best, spread } = rateOf(cell.work, cell.times[0]);
      const stream = isMemoryBound(cell.testCase) ? streamOf(cell.testCase) : undefined;
      const unit = stream === undefined ? 'GFLOP/s' : 'GB/s';
      const limit = stream === undefined ? '' : `${stream.reads}r ${stream.writes}w${stream.inPlace > 0 ? ' in place' : ''} `;
      return [cell.testCase.name, `${limit}${(cell.limit / 1e9).toFixed(1)}`, `${(best / 1e9).toFixed(1)} ${unit}`, `${percent(share(cell, 0))}${cell.testCase.exempt === true ? ' (exempt)' : ''}`, percent(share(cell, 0, 'median')), ...(hasStream ? [percent(pairedRatio(cell.beside, cell.times[0]))] : []), percent(spread, 0), ...(set === 'optimizers' ? [`${pairedRatio(cell.times[0], cells[0].times[0]).toFixed(2)} x`] : []), ...ratiosOf(cell, names)];
    }));
  }
  for (const [who, name] of names.entries()) {
    const taken = cells.filter((cell) => cell.times[who].length > 0 && cell.testCase.exempt !== true);
    if (taken.length === 0) continue;
    const worst = taken.reduce((least, cell) => (share(cell, who) < share(least, who) ? cell : least));
    console.log(`${name}: harmonic mean ${percent(harmonicMean(taken.map((cell) => share(cell, who))))} (by medians ${percent(harmonicMean(taken.map((cell) => share(cell, who, 'median'))))}) of ${taken.length} cells, worst ${percent(share(worst, who))} (${worst.testCase.name})`);
    if (who === 0) continue;
    const both = taken.filter((cell) => cell.times[0].length > 0);
    console.log(`  ${names[0]} is ${harmonicRatio(both, share, who).toFixed(3)} times as fast by harmonic means, ${median(both.map((cell) => pairedRatio(cell.times[who], cell.times[0]))).toFixed(3)} by the median of all cells' ratios`);
  }
}

/** Of the first contestant to another, over the cells that both have. */
function harmonicRatio(cells, share, who) {
  return harmonicMean(cells.map((cell) => share(cell, 0))) / harmonicMean(cells.map((cell) => share(cell, who)));
}

const ratioHeads = (/** @type {readonly string[]} */ names) => names.slice(1).map((name) => `times as fast as ${name}`);
const ratiosOf = (cell, names) => names.slice(1).map((_, index) => (cell.times[index + 1].length === 0 ? '' : pairedRatio(cell.times[index + 1], cell.times[0]).toFixed(3)));

/** A row per shape and a column per layout and dtype; what others reach stands below. */
function showProducts(cells, share) {
  const columns = [...new Set(cells.map(({ testCase: { product } }) => `${product.layout} ${product.dtype}`))];
  const rowOf = ({ testCase: { product: { tokens, n, k } } }) => `${tokens} x (${n}, ${k})`;
  const others = cells[0].times.length - 1;
  const rows = [...new Set(cells.map(rowOf))].map((row) => [row, ...columns.map((column) => {
    const cell = cells.find((one) => rowOf(one) === row && `${one.testCase.product.layout} ${one.testCase.product.dtype}` === column);
    if (cell === undefined) return '';
    const beside = Array.from({ length: others }, (_, other) => (cell.times[other + 1].length === 0 ? '' : `/${(100 * share(cell, other + 1)).toFixed(0)}`)).join('');
    return `${(100 * share(cell, 0)).toFixed(1)}${beside}`;
  })]);
  showTable(['products, %', ...columns], rows);
  for (const dtype of new Set(cells.map(({ testCase }) => testCase.product.dtype))) {
    const some = cells.filter(({ testCase }) => testCase.product.dtype === dtype);
    console.log(`${dtype}: harmonic mean ${percent(harmonicMean(some.map((cell) => share(cell, 0))))}, by medians ${percent(harmonicMean(some.map((cell) => share(cell, 0, 'median'))))}`);
  }
}
