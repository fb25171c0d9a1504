/** `npm run bench -- NAME`: loads the bench of that name and runs it. */

import { HELP, parseOptions } from './support/options.js';

/** Each exports `title` and `run(options)`. */
const NAMES = ['limits', 'kernels', 'step', 'around', 'compile', 'event-loop', 'memory', 'recompute', 'quality'];
/** What runs when no name is given. */
const MAIN = ['limits', 'kernels', 'step', 'around'];

const load = (/** @type {string} */ name) => import(new URL(`${name}.js`, import.meta.url).href);
const { name, options } = parseOptions(process.argv.slice(2));
if (options.values['help'] === true || (name !== undefined && !NAMES.includes(name))) {
  console.log(`${HELP}\n`);
  for (const each of NAMES) console.log(`  ${each.padEnd(14)}${(await load(each)).title}`);
  process.exitCode = options.values['help'] === true ? 0 : 2;
} else {
  for (const each of name === undefined ? MAIN : [name]) {
    if (name === undefined) console.log(`\n--- ${each} ---`);
    await (await load(each)).run(options);
  }
}
