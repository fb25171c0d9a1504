/** Everything in turns: each round measures every case of every contestant once, so that what slows the machine for a while slows all of them. */

/**
 * @template Case
 * @typedef {object} Contestant
 * @property {string} name
 * @property {(testCase: Case) => boolean} [takes] default: all
 * @property {(testCase: Case) => Promise<{ readonly ms: number }>} measure
 */

/**
 * The answers of each contestant to each case, round by round, without those of the first round (undefined: not taken).
 * @template Case
 * @param {readonly Contestant<Case>[]} contestants
 * @param {readonly Case[]} cases
 * @param {number} rounds
 * @param {(round: number) => Promise<void>} [between] after each round: limits
 * @returns {Promise<readonly (readonly any[])[][]>} [contestant][case][round]
 */
export async function inTurns(contestants, cases, rounds, between) {
  const answers = contestants.map(() => cases.map(() => /** @type {any[]} */ ([])));
  for (let round = -1; round < rounds; round++) {
    for (const [index, testCase] of cases.entries()) {
      for (const [who, contestant] of contestants.entries()) {
        if (contestant.takes?.(testCase) === false) continue;
        const answer = await contestant.measure(testCase);
        if (round >= 0) answers[who][index].push(answer);
      }
    }
    await between?.(round);
    if (process.stderr.isTTY) process.stderr.write(`\r${round < 0 ? 'first round, left out' : `round ${round + 1} of ${rounds}`}\u001b[K${round === rounds - 1 ? '\r\u001b[K' : ''}`);
  }
  return answers;
}
