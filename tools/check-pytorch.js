/**
 * Compares with PyTorch and transformers, live:
 *   1. the stored goldens, of models and of optimizers, are what the pinned scripts write today;
 *   2. chat templates render and tokenise as transformers does, assistant masks included;
 *   3. models that this engine trained and saved load in transformers and give the same logits there (within 1e-4).
 *
 *     node tools/check-pytorch.js .venv/bin/python       needs what tools/goldens/requirements.txt lists
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { train } from '../dist/index.js';
import { compileGenerator } from '../dist/compile/compile-generator.js';
import { createDevice } from '../dist/train/devices.js';
import { openModelDirectory } from '../dist/train/model-directory.js';
import { TrainingState } from '../dist/train/training-state.js';
import { readWeights } from '../dist/train/weights.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const python = process.argv[2];
if (python === undefined) throw new Error('give the path of a Python that has what tools/goldens/requirements.txt lists');
const goldens = join(root, 'test', 'goldens', 'models');
const foldersOf = (/** @type {string} */ folder) => readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name).toSorted();
const names = foldersOf(goldens);
const work = mkdtempSync(join(tmpdir(), 'fulltune-pytorch-'));
let comparisons = 0;
try {
  checkStoredGoldens();
  runPython(['--check'], 'chat_template_goldens.py');
  runPython(['--check'], 'optimizers_goldens.py');
  comparisons += 2;
  for (const name of names) {
    const { ids } = JSON.parse(readFileSync(join(goldens, name, 'golden.json'), 'utf8'));
    await checkSavedModel(name, join(goldens, name), ids);
  }
  const ids = [0, 1].map((row) => Array.from({ length: 24 }, (_, position) => 3 + ((row * 131 + position * 37) % 500)));
  await checkSavedModel('examples-base', join(root, 'examples', 'base'), ids);
  await checkSavedModel('stories260K', join(root, '..', 'shared', 'models', 'stories260K'), ids);
} finally {
  rmSync(work, { recursive: true, force: true });
}
console.log(`pytorch: ${comparisons} comparisons passed`);

function runPython(/** @type {string[]} */ words, script = 'models_goldens.py') {
  const { status } = spawnSync(python, [`tools/goldens/${script}`, ...words], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`${script} ${words.join(' ')} ended with ${status}`);
}

/** Weights and batches the same; every number within 1e-6 of the stored one (other processors add in another order). */
function checkStoredGoldens() {
  const fresh = join(work, 'goldens');
  runPython(['--write', fresh]);
  const freshNames = foldersOf(fresh);
  if (freshNames.join() !== names.join()) throw new Error(`the script writes ${freshNames.join(', ')}; stored are ${names.join(', ')}`);
  const rope = (/** @type {string} */ folder) => JSON.parse(readFileSync(join(folder, 'rope.json'), 'utf8'));
  for (const key of Object.keys(rope(goldens)).filter((key) => key !== 'provenance')) compareNumbers(rope(goldens)[key], rope(fresh)[key], `rope.json ${key}`);
  for (const name of names) {
    for (const file of ['config.json', 'model.safetensors']) {
      if (!readFileSync(join(fresh, name, file)).equals(readFileSync(join(goldens, name, file)))) throw new Error(`${name}/${file} is not the stored one`);
    }
    const [now, stored] = [fresh, goldens].map((folder) => JSON.parse(readFileSync(join(folder, name, 'golden.json'), 'utf8')));
    for (const key of Object.keys(stored).filter((key) => key !== 'provenance')) compareNumbers(stored[key], now[key], `${name}/golden.json ${key}`);
    compareTensors(join(goldens, name, 'golden.safetensors'), join(fresh, name, 'golden.safetensors'), name);
    comparisons++;
  }
}

function compareNumbers(/** @type {unknown} */ stored, /** @type {unknown} */ now, /** @type {string} */ where) {
  if (typeof stored === 'number' && typeof now === 'number') {
    if (!(Math.abs(stored - now) <= 1e-6 * Math.max(1, Math.abs(stored)))) throw new Error(`${where}: ${now}, stored is ${stored}`);
  } else if (typeof stored === 'object' && stored !== null && typeof now === 'object' && now !== null) {
    const keys = Object.keys(stored);
    if (keys.join() !== Object.keys(now).join()) throw new Error(`${where}: other keys than stored`);
    for (const key of keys) compareNumbers(stored[key], now[key], `${where}.${key}`);
  } else if (stored !== now) {
    throw new Error(`${where}: ${String(now)}, stored is ${String(stored)}`);
  }
}

/** Each tensor within 1e-5 of the norm of the stored one. */
function compareTensors(/** @type {string} */ storedFile, /** @type {string} */ nowFile, /** @type {string} */ name) {
  const [stored, now] = [readF32(storedFile), readF32(nowFile)];
  if ([...stored.keys()].toSorted().join() !== [...now.keys()].toSorted().join()) throw new Error(`${name}/golden.safetensors: other tensors than stored`);
  for (const [tensor, values] of stored) {
    const other = now.get(tensor);
    const distance = Math.sqrt(values.reduce((sum, value, index) => sum + (value - other[index]) ** 2, 0));
    const norm = Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0));
    if (other.length !== values.length || !(distance <= 1e-5 * norm)) throw new Error(`${name}/golden.safetensors ${tensor}: differs by ${distance}, its norm is ${norm}`);
  }
}

function readF32(/** @type {string} */ path) {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, start));
  return new Map(Object.entries(header).filter(([tensor]) => tensor !== '__metadata__').map(([tensor, { dtype, data_offsets: [from, to] }]) => {
    if (dtype !== 'F32') throw new Error(`${path}: ${tensor} is ${dtype}`);
    return [tensor, new Float32Array(Uint8Array.from(bytes.subarray(start + from, start + to)).buffer)];
  }));
}

/** Three updates with this engine; the saved model's logits here against those in transformers. */
async function checkSavedModel(/** @type {string} */ name, /** @type {string} */ model, /** @type {number[][]} */ ids) {
  const dataset = join(work, `${name}.jsonl`);
  writeFileSync(dataset, ids.map((row) => `${JSON.stringify({ input_ids: row })}\n`).join(''));
  const { modelPath } = await train({ model, dataset, output_dir: join(work, name), max_steps: 3, learning_rate: 1e-3 }).result;
  if (modelPath === null || !existsSync(modelPath)) throw new Error(`${name}: no saved model`);
  const logits = join(work, `${name}.json`);
  writeFileSync(logits, JSON.stringify({ ids, logits: await logitsOf(modelPath, ids) }));
  runPython(['--check', modelPath, '--logits', logits, '--tolerance', '1e-4']);
  comparisons++;
}

/** [rows, tokens, vocabulary], from the program that `generate` reads prompts with. */
async function logitsOf(/** @type {string} */ path, /** @type {number[][]} */ rows) {
  const model = openModelDirectory(path);
  const device = createDevice({ device: 'cpu' });
  const chunk = rows[0].length;
  const { prefill, memory, constants } = compileGenerator({ model: model.config, device, capacity: chunk, chunk });
  const state = await TrainingState.create(device, memory, constants);
  try {
    await readWeights(state, path, model.parameters);
    const result = [];
    for (const row of rows) {
      const perToken = [];
      for (let lastIndex = 0; lastIndex < chunk; lastIndex++) {
        const positions = Int32Array.from({ length: chunk }, (_, index) => index);
        state.setInputs(prefill, { ids: Int32Array.from(row), positions, cacheLength: 0, lastIndex });
        await state.program(prefill).run();
        perToken.push([...state.output(prefill, 'logits')]);
      }
      result.push(perToken);
    }
    return result;
  } finally {
    state.free();
  }
}
