/** What the checks of the torch engine share: a work folder, runs on either engine, and a tally that ends with one line. */

import { spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { initModel, train } from '../../dist/index.js';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const python = process.argv[2];
if (python === undefined) throw new Error('give the path of a Python that has torch, transformers and torchao');
const only = process.argv[3];

export const work = mkdtempSync(join(tmpdir(), 'fulltune-torch-'));
export const STORIES = join(root, '..', 'shared', 'models', 'stories260K');
export const DATASET = join(root, '..', 'shared', 'datasets', 'tinystories_sample.jsonl');

let [passed, failed] = [0, 0];

/** With a word as third argument of the program only checks whose names hold it are made. */
export const chosen = (/** @type {string} */ name) => only === undefined || name.includes(only);

export async function check(/** @type {string} */ name, /** @type {() => Promise<string | void>} */ body) {
  if (!chosen(name)) return;
  const started = performance.now();
  const seconds = () => ((performance.now() - started) / 1000).toFixed(1);
  try {
    const note = await body();
    passed++;
    console.log(`ok    ${name}${note === undefined ? '' : `: ${note}`} (${seconds()} s)`);
  } catch (error) {
    failed++;
    console.log(`FAILS ${name} (${seconds()} s)\n${error instanceof Error ? (typeof error.toText === 'function' ? error.toText() : error.stack) : String(error)}`);
  }
}

/** Prints the closing line, removes the work folder, and sets the exit code. */
export function close() {
  rmSync(work, { recursive: true, force: true });
  console.log(`torch: ${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

export function expect(/** @type {unknown} */ condition, /** @type {string} */ text) {
  if (!condition) throw new Error(text);
}

let runs = 0;
export const freshFolder = () => join(work, `run-${++runs}`);

/** A Qwen2 of a few thousand parameters with random weights, under the tokenizer of stories260K. */
export async function tinyQwen2() {
  const like = join(work, 'qwen2-config');
  mkdirSync(like, { recursive: true });
  writeFileSync(join(like, 'config.json'), JSON.stringify({
    architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', vocab_size: 512, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4,
    num_key_value_heads: 2, max_position_embeddings: 512, rms_norm_eps: 1e-6, rope_theta: 10000, tie_word_embeddings: false, hidden_act: 'silu', initializer_range: 0.1,
    bos_token_id: 1, eos_token_id: 2, torch_dtype: 'float32', use_sliding_window: false,
  }));
  const path = join(work, 'qwen2');
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(STORIES, name), join(like, name));
  await initModel({ directory: path, like, seed: 7 });
  return path;
}

/** Losses by step, the events and the result. */
export async function run(/** @type {import('../../dist/index.js').RunConfig} */ config, /** @type {object} */ options = {}) {
  const output_dir = freshFolder();
  const running = train({ python, output_dir, ...(config.engine === 'embedded' ? {} : { rank_timeout: 200 }), ...config }, options);
  return { output_dir, ...(await collect(running)) };
}

export async function collect(/** @type {import('../../dist/index.js').TrainingRun} */ running) {
  const events = [];
  for await (const event of running) events.push(event);
  const steps = events.filter((event) => event.kind === 'step');
  return { events, losses: new Map(steps.map(({ step, loss }) => [step, loss])), norms: new Map(steps.map(({ step, gradientNorm }) => [step, gradientNorm])), result: await running.result };
}

/** The largest difference of the losses of the same steps; fails above `limit`, or when `steps` are not all there. */
export function agree(/** @type {Map<number, number>} */ a, /** @type {Map<number, number>} */ b, /** @type {number} */ limit, /** @type {number} */ steps) {
  let worst = 0;
  for (let step = 1; step <= steps; step++) {
    const difference = Math.abs(a.get(step) - b.get(step));
    if (!(difference <= limit)) throw new Error(`step ${step}: losses ${a.get(step)} and ${b.get(step)} differ by ${difference}, more than ${limit}`);
    worst = Math.max(worst, difference);
  }
  return worst.toExponential(1);
}

/** The command line in a process of its own. `during` may act on it while it runs. */
export function commandLine(/** @type {readonly string[]} */ words, { env = {}, during = async (/** @type {import('node:child_process').ChildProcess} */ _child) => undefined } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'bin', 'fulltune.js'), ...words], { cwd: work, env: { ...process.env, FULLTUNE_PYTHON: python, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    child.on('close', (code) => resolve({ code, stdout, stderr }));
    during(child).catch((error) => {
      child.kill('SIGKILL');
      reject(error);
    });
  });
}

export async function until(/** @type {() => unknown} */ condition, /** @type {string} */ what, seconds = 120) {
  for (const end = performance.now() + seconds * 1000; performance.now() < end; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const value = condition();
    if (value) return value;
  }
  throw new Error(`waited ${seconds} s in vain for ${what}`);
}
