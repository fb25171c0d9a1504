/**
 * What recompute costs: steps of SmolLM2-135M's shape, 1 row of 512 tokens, with more and more made again, in turns.
 * Goals: pointwise values 2 %, half the bytes 8 %, block inputs only 24 % more time.
 */

import { plainPlan } from '../dist/run/training-plan.js';
import { LADDER } from './support/ladder.js';
import { allThreads, percent, record, showTable } from './support/report.js';
import { workingTree } from './support/revision.js';
import { inTurns } from './support/rounds.js';
import { startStep } from './support/start-step.js';
import { pairedRatio, summary } from './support/statistics.js';
import { STEP_SHAPES } from './support/step-shapes.js';

export const title = 'what recompute costs';

/** @param {import('./support/options.js').Options} options */
export async function run({ rounds, threads: [threads] = [allThreads] }) {
  const shape = STEP_SHAPES['b'];
  const contestants = [];
  try {
    for (const [label, { loss, recompute }] of LADDER(plainPlan({ rowLength: shape.length })).slice(1, 5)) {
      const worker = await startStep(workingTree, { shape, threads, changes: { loss, recompute } });
      contestants.push({ name: label === '+ chunked loss' ? 'everything kept' : label, worker, measure: () => worker.ask({}) });
    }
    const times = (await inTurns(contestants, ['step'], Math.max(7, rounds))).map(([ofRounds]) => ofRounds.map(({ ms }) => ms));
    const lines = contestants.map(({ name, worker }, who) => {
      const { median, best, spread } = summary(times[who]);
      const { device, arenaBytes } = worker.greeting;
      return { label: name, device, arenaBytes, medianMs: median, bestMs: best, spread, ratio: pairedRatio(times[who], times[0]), bestRatio: best / Math.min(...times[0]) };
    });
    showTable(['made again', 'median, ms', 'best', 'spread', 'more time', 'by the best', 'arena, GiB'], lines.map((line) => [
      line.label, line.medianMs.toFixed(0), line.bestMs.toFixed(0), percent(line.spread, 0), percent(line.ratio - 1), percent(line.bestRatio - 1), (line.arenaBytes / 2 ** 30).toFixed(2),
    ]));
    for (const line of lines) record('recompute', line);
  } finally {
    for (const { worker } of contestants) await worker.stop();
  }
}
