/** What the command line of `npm run bench` says, the same for all benches. */

import { parseArgs } from 'node:util';

/**
 * @typedef {object} Options
 * @property {readonly string[]} words what follows the name
 * @property {number} rounds timed ones
 * @property {string | undefined} against revision to be measured in the same rounds
 * @property {boolean} peers measure the peers in the same rounds
 * @property {string} python a Python that has what bench/peers/pytorch asks for
 * @property {readonly number[] | undefined} threads
 * @property {boolean} prepare build what is needed and stop: for machines where building and measuring must not meet
 * @property {Readonly<Record<string, string | boolean | undefined>>} values all flags
 */

export const HELP = `npm run bench -- NAME [words] [flags]
  --rounds N      timed rounds (5); the first round is left out
  --against REV   also measure that revision, in the same rounds
  --threads N,M   thread counts (1 and all for kernels, all for step)
  --peers         also measure the peers, in the same rounds (see bench/peers)
  --python PATH   a Python with PyTorch (default: BENCH_PYTHON, else bench/peers/pytorch/.venv/bin/python)
  --only TEXT     cases whose name has TEXT
  --without TEXT  step: leave out contestants whose name has TEXT, such as torch.compile
  --loss N        step: the loss in slices of N token blocks instead of whole
  --prepare       build what the bench needs, then stop`;

/**
 * @param {readonly string[]} argv
 * @returns {{ readonly name: string | undefined, readonly options: Options }}
 */
export function parseOptions(argv) {
  const { values, positionals } = parseArgs({
    args: [...argv], allowPositionals: true, options: {
      rounds: { type: 'string', default: '5' }, against: { type: 'string' }, threads: { type: 'string' }, peers: { type: 'boolean', default: false },
      python: { type: 'string', default: process.env['BENCH_PYTHON'] ?? new URL('../peers/pytorch/.venv/bin/python', import.meta.url).pathname },
      only: { type: 'string' }, loss: { type: 'string' }, without: { type: 'string' }, prepare: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const [name, ...words] = positionals;
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError(`--rounds ${values.rounds}: a whole number from 1 on`);
  const threads = values.threads?.split(',').map(Number);
  if (threads?.some((count) => !Number.isInteger(count) || count < 1) === true) throw new RangeError(`--threads ${values.threads}: whole numbers, with commas between`);
  return { name, options: { words, rounds, against: values.against, peers: values.peers, python: values.python, threads, prepare: values.prepare, values } };
}
