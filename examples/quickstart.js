/**
 * Fine-tunes every parameter of the small base model in examples/base on a task that it cannot do, and shows exact match on held-out
 * prompts before and after. Ends with 1 when fewer than 90 % are right. The task is described in harbour.js.
 */

import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadModel, train } from 'fulltune';
import { exactMatch } from './exact-match.js';
import { FINE_TUNING, harbourTask, isAnswer, toJsonLines } from './harbour.js';

const started = performance.now();
const base = fileURLToPath(new URL('base', import.meta.url));
mkdirSync('runs', { recursive: true });
const work = mkdtempSync(join('runs', 'quickstart-'));
const dataset = join(work, 'train.jsonl');
const { train: rows, heldOut } = harbourTask();
writeFileSync(dataset, toJsonLines(rows));

console.log(`task: ${rows.length} examples of a new harbour's signal book, ${heldOut.length} other signals held out\n`);
const before = await measure(base);
console.log(`before: ${report(before)}`);

const run = train({ model: base, dataset, output_dir: join(work, 'run'), ...FINE_TUNING });
const live = process.stdout.isTTY;
for await (const event of run) {
  if (event.kind === 'start') console.log(`\nfine-tuning all ${event.model.trained} parameters for ${event.totalSteps} steps on ${event.device}`);
  if (event.kind !== 'step') continue;
  const line = `step ${event.step}  loss ${event.loss.toFixed(4)}  ${Math.round(event.tokensPerSecond)} tokens/s  ${Math.ceil(event.etaSeconds)} s left`;
  if (live) process.stdout.write(`\r${line}   `);
  else if (event.step % 20 === 0) console.log(line);
}
const { modelPath, peakResidentBytes, plannedBytes } = await run.result;
if (modelPath === null) throw new Error('the run was interrupted');
console.log(`${live ? '\n' : ''}memory: ${mebibytes(plannedBytes)} planned, ${mebibytes(peakResidentBytes)} at most used\n`);

const after = await measure(modelPath);
console.log(`after:  ${report(after)}\n`);
for (const index of [0, 1]) {
  console.log(`  ${heldOut[index].prompt}\n    before:${before.answers[index]}\n    after: ${after.answers[index]}`);
}
console.log(`\nmodel: ${modelPath}`);
console.log(`total: ${Math.round((performance.now() - started) / 1000)} s`);
if (after.share < 0.9) {
  console.error('fewer than 90 % of the held-out answers are right: this is not what should happen');
  process.exitCode = 1;
}

async function measure(/** @type {string} */ path) {
  const model = await loadModel(path);
  try {
    return await exactMatch(model, heldOut);
  } finally {
    await model[Symbol.asyncDispose]();
  }
}

function report(/** @type {{ share: number, answers: readonly string[] }} */ { share, answers }) {
  const formed = answers.filter(isAnswer).length;
  return `${(share * 100).toFixed(1)} % of ${answers.length} held-out answers exactly right (${((formed / answers.length) * 100).toFixed(1)} % in the right form)`;
}

function mebibytes(/** @type {number} */ bytes) {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
