/** Everything in turns: each round measures every case of every contestant once, so that what slows the machine for a while slows all of them. */

import { setTimeout } from 'node:timers/promises';

/**
 * @template Case
 * @typedef {object} Contestant
 * @property {string} name
 * @property {(testCase: Case) => boolean} [takes] default: all
 * @property {(testCase: Case) => Promise<{ readonly ms: number }>} measure
 * @property {number} [settleMs] how long its threads go on spinning after an answer: others wait for that (default 0)
 */

/** @type {readonly NodeJS.Signals[]} */
const SIGNALS = ['SIGTERM', 'SIGINT'];

/**
 * The answers of each contestant to each case, round by round, without those of the first round (none: not taken). When the process is told to end (SIGTERM,
 * SIGINT), the rounds that are complete are the result.
 * @template Case
 * @param {readonly Contestant<Case>[]} contestants
 * @param {readonly Case[]} cases
 * @param {number} rounds
 * @param {(round: number) => Promise<void>} [between] after each round: limits
 * @returns {Promise<readonly (readonly any[])[][]>} [contestant][case][round]
 */
export async function inTurns(contestants, cases, rounds, between) {
  const answers = contestants.map(() => cases.map(() => /** @type {any[]} */ ([])));
  let told = false;
  let stop;
  const end = new Promise((_resolve, reject) => {
    stop = () => {
      told = true;
      reject(new Error('told to end'));
    };
  });
  end.catch(() => undefined);
  for (const signal of SIGNALS) process.once(signal, stop);
  let done = 0;
  try {
    for (let round = -1; round < rounds; round++) {
      const ofRound = await oneRound(contestants, cases, end);
      await between?.(round);
      if (process.stderr.isTTY) process.stderr.write(`\r${round < 0 ? 'first round, left out' : `round ${round + 1} of ${rounds}`}\u001b[K${round === rounds - 1 ? '\r\u001b[K' : ''}`);
      if (round < 0) continue;
      ofRound.forEach((ofCases, who) => ofCases.forEach((answer, index) => answer !== undefined && answers[who][index].push(answer)));
      done++;
    }
  } catch (error) {
    if (!told || done === 0) throw error;
    console.log(`told to end: ${done} of ${rounds} rounds`);
  } finally {
    for (const signal of SIGNALS) process.off(signal, stop);
  }
  return answers;
}

async function oneRound(contestants, cases, end) {
  const answers = contestants.map(() => cases.map(() => undefined));
  for (const [index, testCase] of cases.entries()) {
    for (const [who, contestant] of contestants.entries()) {
      if (contestant.takes?.(testCase) === false) continue;
      answers[who][index] = await Promise.race([contestant.measure(testCase), end]);
      if (contestant.settleMs !== undefined) await setTimeout(contestant.settleMs);
    }
  }
  return answers;
}
