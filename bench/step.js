/**
 * Whole training steps: forward, backward, clipping and AdamW. Words: a, b, c (default a and b); `scaling` adds one thread, `recompute` adds the run with the least memory: it keeps block
 * inputs only and updates in backward, without clipping. Each contestant is a process of its own, and all take turns.
 */

import { startJaxJs } from './peers/jax-js/jax-js.js';
import { SETTINGS, startPyTorch } from './peers/pytorch/pytorch.js';
import { buildLimits, Limits } from './support/limits.js';
import { opClass } from './support/op-class.js';
import { allThreads, percent, record, showTable } from './support/report.js';
import { buildsOf, workingTree } from './support/revision.js';
import { inTurns } from './support/rounds.js';
import { median, pairedRatio, summary } from './support/statistics.js';
import { startStep } from './support/start-step.js';
import { modelFlops, planChanges, STEP_SHAPES } from './support/step-shapes.js';

/** @typedef {import('./support/step-shapes.js').StepShape} StepShape */
/** @typedef {import('./support/options.js').Options} Options */

export const title = 'whole training steps: a (10 M), b (SmolLM2-135M), c (Qwen2.5-0.5B); scaling, recompute';

/** @param {Options} options */
export async function run(options) {
  const extra = ['scaling', 'recompute'];
  const unknown = options.words.find((word) => !Object.hasOwn(STEP_SHAPES, word) && !extra.includes(word));
  if (unknown !== undefined) throw new RangeError(`'${unknown}' is none of ${[...Object.keys(STEP_SHAPES), ...extra].join(', ')}`);
  const named = options.words.filter((word) => !extra.includes(word));
  buildLimits();
  buildsOf(options);
  if (options.prepare) return;
  for (const name of named.length === 0 ? ['a', 'b'] : named) await measureShape(name, STEP_SHAPES[name], options);
}

/**
 * @param {string} name
 * @param {StepShape} shape
 * @param {Options} options
 */
async function measureShape(name, shape, options) {
  const threads = options.threads?.[0] ?? allThreads;
  const limits = await Limits.start();
  const contestants = [];
  try {
    const without = options.values['without'];
    for (const { label, start, ...rest } of contestantsOf(name, shape, threads, options)) {
      if (without !== undefined && label.includes(String(without))) continue;
      const worker = await start().catch((/** @type {Error} */ error) => error);
      if (worker instanceof Error) console.log(`${label}: left out, ${worker.message}`);
      else contestants.push({ name: label, worker, measure: () => twoSteps(worker), ...rest });
    }
    const counts = [...new Set(contestants.map((one) => one.threads ?? threads))];
    const rounds = Math.min(options.rounds, shape.rounds);
    const answers = (await inTurns(contestants, [name], rounds, async () => {
      for (const count of counts) await limits.measureFma(count);
    })).map(([ofCase]) => ofCase);
    const limit = new Map();
    for (const count of counts) limit.set(count, await limits.fma(count));
    report({ name, shape, contestants, answers, limit, threads, rounds: answers[0].length });
  } finally {
    for (const { worker } of contestants) await worker.stop();
    await limits.stop();
  }
}

/**
 * The second of two steps: the first one finds caches that others filled, threads of others that still look for work, and processors that have slept.
 * @param {import('./support/worker.js').Worker} worker
 */
async function twoSteps(worker) {
  await worker.ask({});
  return worker.ask({});
}

/**
 * @param {string} name
 * @param {StepShape} shape
 * @param {number} threads
 * @param {Options} options
 */
function contestantsOf(name, shape, threads, options) {
  const loss = options.values['loss'] === undefined ? undefined : Number(options.values['loss']);
  const fulltune = (/** @type {import('./support/revision.js').Build} */ build, least = false, count = threads) => () => startStep(build, { shape, threads: count, changes: planChanges(shape, { least, blocks: loss }) });
  const list = buildsOf(options).map((build) => ({ label: build.name, start: fulltune(build) }));
  if (options.words.includes('recompute')) list.push({ label: 'fulltune, recompute, update in backward', start: fulltune(workingTree, true) });
  if (options.words.includes('scaling')) list.push({ label: 'fulltune, 1 thread', threads: 1, start: fulltune(workingTree, false, 1) });
  if (!options.peers || shape.plan === 'recompute bf16') return list; // c is reported by itself
  for (const [setting, label] of Object.entries(SETTINGS)) list.push({ label: `PyTorch, ${label}`, start: () => startPyTorch({ python: options.python, setting, shape, threads }) });
  if (name === 'a') for (const count of new Set([1, threads])) list.push({ label: `jax-js, ${count} ${count === 1 ? 'thread' : 'threads'}`, threads: count, start: () => startJaxJs(shape, count) });
  return list;
}

function report({ name, shape, contestants, answers, limit, threads, rounds }) {
  const tokens = shape.rows * shape.length;
  const flops = modelFlops(shape);
  const times = answers.map((ofRounds) => ofRounds.map(({ ms }) => ms));
  const lines = contestants.map((contestant, who) => {
    const { median: middle, best, spread } = summary(times[who]);
    const own = limit.get(contestant.threads ?? threads);
    const peakBytes = answers[who].at(-1).peakBytes;
    const outside = answers[who].map(({ outsideMs, ms }) => outsideMs / ms).filter((share) => !Number.isNaN(share));
    return {
      name: contestant.name, threads: contestant.threads ?? threads, greeting: contestant.worker.greeting, medianMs: middle, bestMs: best, spread, tokensPerSecond: (tokens / middle) * 1000, bestTokensPerSecond: (tokens / best) * 1000,
      mfu: flops / middle / 1e-3 / own, bestMfu: flops / best / 1e-3 / own, peakBytes, outside: outside.length === 0 ? undefined : median(outside), ahead: pairedRatio(times[who], times[0]),
    };
  });
  const [first] = lines;
  console.log(`\n${name}: ${shape.title}; limit ${[...limit].map(([count, rate]) => `${(rate / 1e9).toFixed(1)} GFLOP/s on ${count}`).join(', ')}; ${rounds} rounds`);
  showTable(['', 'tokens/s', 'best', 'spread', 'MFU', 'best', 'peak, MiB', 'outside kernels', 'fulltune ahead', 'its peak'], lines.map((line) => [
    line.name, line.tokensPerSecond.toFixed(0), line.bestTokensPerSecond.toFixed(0), percent(line.spread, 0), line.mfu.toFixed(3), line.bestMfu.toFixed(3), (line.peakBytes / 2 ** 20).toFixed(0),
    line.outside === undefined ? '' : percent(line.outside, 2), line === first ? '' : `${line.ahead.toFixed(2)} x`, line === first ? '' : `${(first.peakBytes / line.peakBytes).toFixed(2)} x`,
  ]));
  const classes = classTimes(answers[0]);
  const all = [...classes.values()].reduce((sum, ms) => sum + ms, 0);
  console.log('');
  showTable([`${contestants[0].name}, by kind of op`, 'ms', 'share'], [...classes].sort(([, x], [, y]) => y - x).map(([kind, ms]) => [kind, ms.toFixed(1), percent(ms / all)]));
  record('step', { shape: name, title: shape.title, threads, rounds, limitFlopsPerSecond: Object.fromEntries(limit), contestants: lines, opMs: medianByOp(answers[0]), classMs: Object.fromEntries(classes) });
}

/** Median milliseconds of each op over the rounds. */
function medianByOp(answers) {
  const names = new Set(answers.flatMap(({ byOp }) => Object.keys(byOp)));
  return Object.fromEntries([...names].map((op) => [op, median(answers.map(({ byOp }) => byOp[op] ?? 0))]));
}

function classTimes(answers) {
  const classes = new Map([['outside kernels', median(answers.map(({ outsideMs }) => outsideMs))]]);
  for (const [op, ms] of Object.entries(medianByOp(answers))) classes.set(opClass(op), (classes.get(opClass(op)) ?? 0) + ms);
  return classes;
}
