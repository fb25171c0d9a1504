/**
 * Makes examples/base/ from nothing: base texts and tokenizer by rule, random weights, training with this project's own engine. The same
 * commit gives the same files on the same kind of processor.
 *
 *     npm run build && node examples/base/recipe/train-base.js
 */

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { initModel, loadModel, train } from 'fulltune';
import { parse } from 'yaml';
import { exactMatch } from '../../exact-match.js';
import { allSignals, BASE_HARBOURS, harbourTask, isAnswer, randomFrom, shuffled, strangerSignals, toJsonLines } from '../../harbour.js';
import { makeTokenizer } from './make-tokenizer.js';

const recipe = fileURLToPath(new URL('.', import.meta.url));
const base = fileURLToPath(new URL('..', import.meta.url));
mkdirSync('runs', { recursive: true });
const work = mkdtempSync(join('runs', 'base-'));

const known = BASE_HARBOURS.flatMap((harbour) => allSignals(harbour));
const rows = [...known, ...strangerSignals(4096)];
writeFileSync(join(work, 'base.jsonl'), toJsonLines(rows));

// Shape and tokenizer, then random weights.
const config = JSON.parse(readFileSync(join(recipe, 'config.json'), 'utf8'));
const tokenizer = makeTokenizer(rows.map(({ prompt, completion }) => prompt + completion), { vocabularySize: config.vocab_size });
const files = {
  'config.json': config,
  'tokenizer.json': tokenizer,
  'tokenizer_config.json': { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '</s>', model_max_length: config.max_position_embeddings },
  'generation_config.json': { bos_token_id: 0, eos_token_id: 1, do_sample: false },
};
const start = join(work, 'start');
mkdirSync(start);
for (const [name, content] of Object.entries(files)) writeFileSync(join(start, name), `${JSON.stringify(content, null, 1)}\n`);
const random = join(work, 'random');
await initModel({ directory: random, like: start, overrides: {}, seed: 42 });

// Training.
const settings = parse(readFileSync(join(recipe, 'base.yaml'), 'utf8'));
const run = train({ model: random, dataset: join(work, 'base.jsonl'), output_dir: join(work, 'run'), ...settings });
for await (const event of run) {
  if (event.kind === 'step' && event.step % 20 === 0) {
    console.log(`step ${event.step}  loss ${event.loss.toFixed(4)}  ${Math.round(event.tokensPerSecond)} tokens/s  ${Math.round(event.etaSeconds)} s left`);
  }
}
const { modelPath, seconds } = await run.result;
if (modelPath === null) throw new Error('the run ended without a model');

// What it can do, and what it cannot.
const model = await loadModel(modelPath);
const own = await exactMatch(model, shuffled(known, randomFrom(5)).slice(0, 200));
const unknown = await exactMatch(model, harbourTask().heldOut);
await model[Symbol.asyncDispose]();
const formed = unknown.answers.filter(isAnswer).length / unknown.answers.length;
console.log(`${Math.round(seconds)} s; exact match on 200 signals of its own harbours ${percent(own.share)}, on Merrow's ${percent(unknown.share)} (${percent(formed)} in the right form)`);

for (const name of readdirSync(modelPath)) copyFileSync(join(modelPath, name), join(base, basename(name)));
console.log(`written: ${base}`);

function percent(/** @type {number} */ share) {
  return `${(share * 100).toFixed(1)} %`;
}
