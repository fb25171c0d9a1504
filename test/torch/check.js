/**
 * The torch engine against the embedded one, and what it does when something goes wrong. Needs no GPU.
 *
 *     node test/torch/check.js .venv/bin/python [WORD]      with WORD: only the checks whose names hold it
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { execFile, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { initModel, planOnTorch, prepareLaunch, resume, train } from '../../dist/index.js';
import { agree, check, chosen, close, collect, commandLine, DATASET, expect, freshFolder, python, root, run, STORIES, tinyQwen2, until, work } from './harness.js';

const STEPS = 20;
const LIMIT = 1e-4;
const SECRET = 'hf_thisIsASecretOfTheTest';

/** Pieces of the stories, of 100 to 400 characters. */
const dataset = join(work, 'stories.jsonl');
const stories = readFileSync(DATASET, 'utf8').trim().split('\n').map((line) => String(JSON.parse(line).text)).join(' ');
const pieces = Array.from({ length: 60 }, (_, index) => stories.slice((index * 97) % (stories.length - 400)).slice(0, 100 + ((index * 53) % 300)));
writeFileSync(dataset, pieces.map((text) => JSON.stringify({ text })).join('\n'));
const qwen2 = await tinyQwen2();
/** @type {import('../../dist/index.js').RunConfig} */
const base = { model: STORIES, dataset, max_length: 128, max_steps: STEPS, learning_rate: 1e-3, train_batch_size: 4, save_steps: 1000, weight_decay: 0.1 };

try {
  await check('worker: unit tests and shared fixtures', async () => {
    const { status, stderr } = spawnSync(python, ['-m', 'unittest', 'discover', '-s', join(root, 'worker', 'tests')], { encoding: 'utf8', env: { ...process.env, PYTHONPATH: join(root, 'worker') } });
    expect(status === 0, stderr);
    return stderr.trim().split('\n').findLast((line) => line.startsWith('Ran'));
  });
  await compare([...agreement(), ...families(), ...techniques()]);
  await lifecycle();
  await twoNodes();
  await failures();
} finally {
  close();
}

/**
 * Runs on PyTorch that only have to be compared: all of one number of ranks in one process, which imports torch once.
 * @typedef {{ name: string, keys: Partial<import('../../dist/index.js').RunConfig>, reference?: Partial<import('../../dist/index.js').RunConfig>, limit?: number,
 *   change?: (plan: any) => any }} Comparison
 */
async function compare(/** @type {readonly Comparison[]} */ comparisons) {
  const wanted = comparisons.filter(({ name }) => chosen(name));
  /** @type {Map<Comparison, string>} */
  const folders = new Map();
  for (const comparison of wanted) {
    const config = { ...base, python, ...comparison.keys, engine: /** @type {const} */ ('torch'), output_dir: freshFolder() };
    const plan = comparison.change === undefined ? {} : { plan: comparison.change((await planOnTorch(config, { elsewhere: true })).plan) };
    folders.set(comparison, (await prepareLaunch(config, { form: 'torchrun', ...plan })).runDirectory);
  }
  for (const ranks of [1, 2]) {
    const jobs = wanted.filter(({ keys }) => (keys.nproc_per_node ?? 1) === ranks).map((comparison) => join(/** @type {string} */ (folders.get(comparison)), 'torch', 'job.json'));
    if (jobs.length === 0) continue;
    const started = performance.now();
    const script = join(root, 'worker', 'tests', 'run_jobs.py');
    const words = ranks === 1 ? [script] : ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', script];
    const { stderr } = spawnSync(python, [...words, ...jobs], { encoding: 'utf8', maxBuffer: 1 << 26, env: { ...process.env, OMP_NUM_THREADS: String(2 / ranks), PYTHONPATH: join(root, 'worker'), HF_HUB_OFFLINE: '1' } });
    writeFileSync(join(work, `ranks-${ranks}.log`), stderr);
    console.log(`      ${jobs.length} runs with ${ranks === 1 ? 'one rank' : '2 ranks'} in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  }
  /** @type {Map<string, Promise<Map<number, number>>>} */
  const embedded = new Map();
  for (const comparison of wanted) {
    await check(comparison.name, async () => {
      const { nproc_per_node: ranks, sharding: _, ...keys } = comparison.keys;
      const config = { ...base, ...(comparison.reference ?? keys), engine: /** @type {const} */ ('embedded') };
      const { per_device_train_batch_size: __, ...same } = config;
      const key = JSON.stringify(same);
      if (!embedded.has(key)) embedded.set(key, run(same).then(({ losses }) => losses));
      const directory = /** @type {string} */ (folders.get(comparison));
      const events = existsSync(join(directory, 'events.jsonl')) ? readFileSync(join(directory, 'events.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line)) : [];
      if (events.at(-1)?.kind !== 'end') throw new Error(`${directory} has no end\n${readFileSync(join(work, `ranks-${ranks ?? 1}.log`), 'utf8').slice(-2500)}`);
      const losses = new Map(events.filter(({ kind }) => kind === 'step').map(({ step, loss }) => [step, loss]));
      return `within ${agree(/** @type {Map<number, number>} */ (await embedded.get(key)), losses, comparison.limit ?? LIMIT, config.max_steps ?? STEPS)}`;
    });
  }
}

/** f32, same seed, 20 steps, for one rank, two copies, two shards: every pair of values of accumulation, packing and clipping. */
function agreement() {
  const combinations = [[false, false, false], [false, true, true], [true, false, true], [true, true, false]];
  const modes = /** @type {const} */ ([['one rank', {}], ['2 ranks, ddp', { nproc_per_node: 2, sharding: 'ddp' }], ['2 ranks, fsdp', { nproc_per_node: 2, sharding: 'fsdp' }]]);
  return [['stories260K', STORIES], ['qwen2', qwen2]].flatMap(([model, path]) => modes.flatMap(([mode, keys]) => combinations.map(([accumulation, packing, clipping]) => {
    const words = [accumulation && 'accumulation', packing && 'packing', clipping && 'clipping'].filter((word) => word !== false);
    return {
      name: `agrees: ${model}, ${mode}, ${words.join(' + ') || 'plain'}`,
      keys: { ...keys, model: path, packing, max_grad_norm: clipping ? 0.5 : 0, per_device_train_batch_size: accumulation ? 1 : mode === 'one rank' ? 4 : 2 },
    };
  })));
}

/** The other families, with micro-batches of packed rows; what is trained on are token ids, for these models have no tokenizer. */
function families() {
  const ids = join(work, 'ids.jsonl');
  writeFileSync(ids, Array.from({ length: 24 }, (_, row) => JSON.stringify({ input_ids: Array.from({ length: 5 + (row % 9) }, (_, position) => 1 + ((row * 31 + position * 17) % 70)) })).join('\n'));
  return ['gpt2', 'gpt2-exact', 'qwen3', 'llama3', 'mistral'].map((name) => ({
    name: `agrees: ${name}, one rank`, keys: { model: join(root, 'test', 'goldens', 'models', name), dataset: ids, max_length: 32, max_steps: 8, per_device_train_batch_size: 2 },
  }));
}

/** What does not change numbers gives the same losses; what does stays near those of f32. */
function techniques() {
  const max_steps = 6;
  const slow = { max_steps, learning_rate: 1e-4 };
  /** @type {readonly Comparison[]} */
  const all = [
    { name: 'recompute of layers, chunked loss', keys: { max_steps, gradient_checkpointing: true, chunked_loss: true }, reference: { max_steps } },
    { name: 'chunks of 50 tokens', keys: { max_steps }, change: (plan) => ({ ...plan, loss: { kind: 'chunked', tokens: 50 } }) },
    { name: 'selective recompute', keys: { max_steps }, change: (plan) => ({ ...plan, recompute: { kind: 'selective' } }) },
    { name: 'optimizer in backward', keys: { max_steps, optimizer_in_backward: true, max_grad_norm: 0 }, reference: { max_steps, max_grad_norm: 0 } },
    { name: 'eager attention, zero2, recompute', keys: { max_steps, attn_implementation: 'eager', nproc_per_node: 2, sharding: 'zero2', gradient_checkpointing: true, per_device_train_batch_size: 1 }, reference: { max_steps } },
    { name: 'fsdp with shards on the host', keys: { max_steps, nproc_per_node: 2, cpu_offload: true }, reference: { max_steps } },
    { name: 'one rank with its shards on the host', keys: { max_steps, sharding: 'fsdp', cpu_offload: true }, reference: { max_steps } },
    ...(/** @type {const} */ (['lion', 'sgd', 'adafactor'])).map((optim) => ({ name: optim, keys: { ...slow, optim } })),
    { name: 'lion on 2 ranks, fsdp', keys: { ...slow, optim: 'lion', nproc_per_node: 2 } },
    { name: 'a frozen embedding', keys: { max_steps, freeze: ['model.embed_tokens*'] } },
    { name: 'bf16', keys: { max_steps, bf16: true }, reference: { max_steps }, limit: 0.03 },
    { name: 'bf16 on 2 ranks, fsdp', keys: { max_steps, bf16: true, nproc_per_node: 2 }, reference: { max_steps }, limit: 0.03 },
    { name: 'fp16 with a loss scale', keys: { max_steps, fp16: true }, reference: { max_steps }, limit: 0.03 },
    { name: 'bf16 weights, rounded stochastically', keys: { max_steps, bf16_weights: true }, reference: { max_steps }, limit: 0.05 },
    { name: 'bf16 weights, lion', keys: { ...slow, bf16_weights: true, optim: 'lion' }, reference: { ...slow, optim: 'lion' }, limit: 0.05 },
    { name: 'adamw_8bit', keys: { max_steps, optim: 'adamw_8bit' }, reference: { max_steps }, limit: 0.03 },
    { name: 'adamw_4bit', keys: { max_steps, optim: 'adamw_4bit' }, reference: { max_steps }, limit: 0.05 },
    { name: 'torch.compile', keys: { max_steps, torch_compile: true }, reference: { max_steps } },
  ];
  return all.map((comparison) => ({ ...comparison, name: `technique: ${comparison.name}` }));
}

async function lifecycle() {
  await check('resume on another number of ranks, evaluation, export', async () => {
    const config = { ...base, eval_fraction: 0.1, eval_steps: 5 };
    const whole = await run({ ...config, engine: 'embedded' });
    const stop = new AbortController();
    const output_dir = freshFolder();
    const first = train({ python, ...config, engine: 'torch', nproc_per_node: 2, output_dir }, { signal: stop.signal });
    const before = [];
    for await (const event of first) {
      before.push(event);
      if (event.kind === 'step' && event.step === 7) stop.abort();
    }
    const { reason, step } = await first.result;
    expect(reason === 'interrupted' && step >= 7 && step < STEPS, `the run ended as ${reason} after step ${step}`);
    expect(readdirSync(output_dir).includes(`checkpoint-${step}`), `no checkpoint of step ${step}`);
    const second = await collect(resume(output_dir, { nproc_per_node: 1 }));
    expect(second.result.reason === 'finished', `resumed: ${second.result.reason}`);
    const losses = new Map([...before.filter((event) => event.kind === 'step').map((event) => [event.step, event.loss]), ...second.losses]);
    const worst = agree(whole.losses, losses, LIMIT, STEPS);
    const evals = (/** @type {readonly any[]} */ events) => events.filter(({ kind }) => kind === 'eval').map((event) => event.loss);
    const [ours, theirs] = [evals(whole.events), [...evals(before), ...evals(second.events)]];
    expect(ours.length === theirs.length && ours.every((loss, index) => Math.abs(loss - theirs[index]) <= LIMIT), `evaluations ${ours.join()} and ${theirs.join()}`);
    checkExport(join(output_dir, 'model'), /** @type {string} */ (whole.result.modelPath));
    return `losses within ${worst}, stopped at ${step}`;
  });
  await check('memory on the CPU: planned beside measured', async () => {
    const model = join(work, 'wider');
    await initModel({ directory: model, like: STORIES, overrides: { hidden_size: 384, intermediate_size: 1024, num_hidden_layers: 6, num_attention_heads: 6, num_key_value_heads: 3 } });
    const shares = [];
    for (const changes of [{}, { model, max_length: 256 }]) {
      const { result } = await run({ ...base, ...changes, max_steps: 2, engine: 'torch' });
      const { plannedBytes: planned, peakResidentBytes: measured } = result;
      expect(planned !== null && Math.abs(planned / measured - 1) < 0.35, `planned ${planned}, measured ${measured}`);
      shares.push((Number(planned) / measured).toFixed(2));
    }
    return `${shares.join(' and ')} of the measured peak`;
  });
  await check('--print torchrun runs by itself and can be resumed', async () => {
    const output = freshFolder();
    const words = ['--model', STORIES, '--dataset', dataset, '--max-length', '128', '--max-steps', '3', '--save-steps', '2', '--engine', 'torch', '--output-dir', output];
    const printed = await commandLine(['train', ...words, '--nproc-per-node', '2', '--print']);
    expect(printed.code === 0, printed.stderr);
    const { status, stderr } = spawnSync('bash', ['-c', printed.stdout], { encoding: 'utf8' });
    expect(status === 0 && existsSync(join(output, 'model', 'model.safetensors')), stderr);
    const resumed = await commandLine(['resume', output, '--max-steps', '4', '--nproc-per-node', '1', '--json']);
    expect(resumed.code === 0 && resumed.stdout.includes('"step":4'), resumed.stderr);
    const slurm = await commandLine(['train', ...words.slice(0, -1), freshFolder(), '--nproc-per-node', '8', '--nnodes', '4', '--print', 'slurm']);
    expect(spawnSync('bash', ['-n'], { input: slurm.stdout }).status === 0 && slurm.stdout.includes('#SBATCH --nodes=4') && slurm.stdout.includes('--nproc-per-node 8'), slurm.stdout);
  });
}

/** Two launchers on one machine that meet at a port: what a second node does, but for the network. */
async function twoNodes() {
  await check('two nodes meet, and train as one process does', async () => {
    const keys = { ...base, max_steps: 5 };
    const folder = freshFolder();
    const port = await freePort();
    const { text, runDirectory } = await prepareLaunch({ ...keys, python, engine: 'torch', nproc_per_node: 1, nnodes: 2, rdzv_endpoint: `127.0.0.1:${port}`, output_dir: folder }, { form: 'torchrun' });
    const ended = await Promise.all([0, 1].map(() => new Promise((resolve) => {
      execFile('bash', ['-c', text], { encoding: 'utf8', timeout: 300_000, env: { ...process.env, OMP_NUM_THREADS: '1' } }, (error, _stdout, stderr) => resolve({ error, stderr }));
    })));
    for (const { error, stderr } of ended) expect(error === null, stderr);
    const events = readFileSync(join(runDirectory, 'events.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    const losses = new Map(events.filter(({ kind }) => kind === 'step').map(({ step, loss }) => [step, loss]));
    const embedded = await run({ ...keys, engine: 'embedded' });
    expect(existsSync(join(runDirectory, 'model', 'model.safetensors')), 'there is no finished model');
    return `losses within ${agree(embedded.losses, losses, LIMIT, 5)}`;
  });
}

/** A port that nobody listens at just now. */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}

/** The same names, shapes and files as the embedded engine's, and logits in transformers that are near. */
function checkExport(/** @type {string} */ torchModel, /** @type {string} */ embeddedModel) {
  for (const name of readdirSync(embeddedModel).filter((file) => !file.endsWith('.safetensors'))) {
    expect(readFileSync(join(torchModel, name)).equals(readFileSync(join(embeddedModel, name))), `${name} differs from the embedded engine's`);
  }
  const program = [
    'import sys, torch', 'from transformers import AutoModelForCausalLM',
    'a, b = (AutoModelForCausalLM.from_pretrained(path) for path in sys.argv[1:3])',
    'worst = max((x - y).abs().max().item() for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))',
    'ids = torch.arange(3, 60).unsqueeze(0)', 'logits = (a(ids).logits - b(ids).logits).abs().max().item()', 'print(worst, logits)', 'sys.exit(0 if worst < 1e-3 and logits < 1e-2 else 1)',
  ].join('\n');
  const { status, stdout, stderr } = spawnSync(python, ['-c', program, torchModel, embeddedModel], { encoding: 'utf8' });
  expect(status === 0, `the exported models differ: ${stdout}${stderr}`);
}

async function failures() {
  const words = (/** @type {string} */ output) => [
    'train', '--model', STORIES, '--dataset', dataset, '--max-length', '128', '--max-steps', '5000', '--save-steps', '3', '--train-batch-size', '4', '--engine', 'torch', '--output-dir', output, '--json',
  ];
  const rankOf = (/** @type {string} */ output, /** @type {number} */ rank) => {
    const path = join(output, 'torch', 'control', `rank-${rank}.json`);
    try {
      return JSON.parse(readFileSync(path, 'utf8'));
    } catch {
      return undefined;
    }
  };
  const steps = (/** @type {string} */ output, /** @type {number} */ step) => until(() => {
    const found = [0, 1].map((rank) => rankOf(output, rank));
    return found.every((sign) => sign?.step >= step) && found;
  }, `step ${step}`);
  await check('failure: a rank that dies', async () => {
    const output = freshFolder();
    const { code, stderr } = await commandLine([...words(output), '--nproc-per-node', '2'], {
      env: { HF_TOKEN: SECRET },
      during: async () => process.kill((await steps(output, 6))[1].pid, 'SIGKILL'),
    });
    expect(code === 69 && stderr.includes('rank 1 ') && stderr.includes('died at step') && /last complete checkpoint is checkpoint-\d+/.test(stderr), `exit code ${code}: ${stderr}`);
    const leaking = spawnSync('grep', ['-rl', SECRET, output], { encoding: 'utf8' }).stdout;
    expect(leaking === '', `the secret is in ${leaking}`);
    return stderr.split('\n')[0];
  });
  await check('failure: a rank that hangs', async () => {
    const output = freshFolder();
    const { code, stderr } = await commandLine([...words(output), '--nproc-per-node', '2', '--rank-timeout', '20'], {
      during: async () => process.kill((await steps(output, 4))[1].pid, 'SIGSTOP'),
    });
    expect(code === 69 && stderr.includes('rank 1') && stderr.includes('no sign of life') && stderr.includes('checkpoint-3'), `exit code ${code}: ${stderr}`);
    return stderr.split('\n')[0];
  });
  await check('failure: out of memory', async () => {
    const output = freshFolder();
    const limited = join(work, 'limited-python');
    writeFileSync(limited, `#!/bin/sh\nulimit -v 6000000\nexec '${python}' "$@"\n`, { mode: 0o755 });
    const { code, stderr } = await commandLine(
      ['train', '--model', STORIES, '--dataset', dataset, '--max-length', '512', '--max-steps', '2', '--train-batch-size', '4096', '--no-chunked-loss', '--no-packing', '--num-train-epochs', '100', '--engine', 'torch', '--output-dir', output],
      { env: { FULLTUNE_PYTHON: limited } },
    );
    expect(code === 2 && stderr.includes('ran out of memory in step 1') && stderr.includes('--per-device-train-batch-size 2048'), `exit code ${code}: ${stderr}`);
    return stderr.split('\n')[0];
  });
  await check('failure: Ctrl-C writes a checkpoint', async () => {
    const output = freshFolder();
    const { code, stderr } = await commandLine(words(output), {
      during: async (child) => {
        await until(() => rankOf(output, 0)?.step >= 4, 'step 4');
        child.kill('SIGINT');
      },
    });
    expect(code === 130 && readdirSync(output).some((name) => name.startsWith('checkpoint-')), `exit code ${code}: ${stderr}`);
    return readdirSync(output).filter((name) => name.startsWith('checkpoint-')).join(', ');
  });
  await check('failure: a mistake writes nothing', async () => {
    const output = freshFolder();
    const broken = await commandLine([...words(output), '--optimizer-in-backward']);
    expect(broken.code === 2 && broken.stderr.includes('max_grad_norm') && !existsSync(output), `exit code ${broken.code}: ${broken.stderr}`);
    const nowhere = await commandLine([...words(output), '--python', join(work, 'no-python')]);
    expect(nowhere.code === 2 && nowhere.stderr.includes('cannot be started') && !existsSync(output), `exit code ${nowhere.code}: ${nowhere.stderr}`);
  });
}
