/** The command line with an engine of prepared answers: flags in, calls, output and exit codes out. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FulltuneError } from '../../src/base/errors.ts';
import { addConfigFlags, configFromFlags, flagOf } from '../../src/cli/config-flags.ts';
import { main } from '../../src/cli/main.ts';
import { cliReference } from '../../src/cli/reference.ts';
import { recorder, SIGNS, type Recorder } from '../../src/cli/testing/recorder.ts';
import { END, EVENTS, START } from '../../src/cli/testing/sample-events.ts';
import { FITS } from '../../src/cli/testing/sample-plan.ts';
import type { Engine } from '../../src/cli/verb.ts';
import type { RunResult } from '../../src/index.ts';
import { CONFIG_KEYS, keyInfo } from '../../src/run/config-schema.ts';
import type { RunEvent } from '../../src/run/events.ts';
import type { RunConfig } from '../../src/run/run-config.ts';

const RESULT: RunResult = {
  reason: 'finished', runDirectory: 'runs/a b', modelPath: 'runs/a b/model', step: 2, lastLoss: 2.5, evalLoss: 2.25, bestStep: 2, plannedBytes: 1, peakResidentBytes: 1,
  predictedStepMs: null, measuredStepMs: null, suggestedMemoryBytes: null, seconds: 1,
};

interface FakeRun {
  readonly events?: readonly RunEvent[];
  readonly failure?: Error;
  /** Called before each event. */
  readonly before?: (event: RunEvent, signal: AbortSignal) => void;
  readonly reason?: RunResult['reason'];
  readonly suggestedMemoryBytes?: number;
}

/** What the engine was asked to do. */
type Call = readonly [verb: string, ...argumentList: unknown[]];

function fakeEngine(run: FakeRun = {}): { readonly engine: Engine; readonly calls: Call[] } {
  const calls: Call[] = [];
  const follow = (signal: AbortSignal) => {
    async function* events(): AsyncGenerator<RunEvent, void, void> {
      for (const event of run.events ?? EVENTS) {
        run.before?.(event, signal);
        yield event;
      }
      if (run.failure !== undefined) throw run.failure;
    }
    const result = run.failure === undefined ? Promise.resolve({ ...RESULT, reason: run.reason ?? 'finished', suggestedMemoryBytes: run.suggestedMemoryBytes ?? null }) : Promise.reject(run.failure);
    result.catch(() => undefined);
    return { [Symbol.asyncIterator]: events, result };
  };
  const model = {
    async *generate(prompt: unknown, options: unknown) {
      calls.push(['generate', prompt, options]);
      yield 'there ';
      yield 'was';
    },
    evaluate: (options: unknown) => {
      calls.push(['evaluate', options]);
      return Promise.resolve({ loss: 1.5, perplexity: Math.exp(1.5), tokens: 1200, documents: 10, seconds: 2, notices: [] });
    },
    [Symbol.asyncDispose]: () => Promise.resolve(void calls.push(['dispose'])),
  };
  const engine = {
    plan: (config: RunConfig) => Promise.resolve((calls.push(['plan', config]), FITS)),
    train: (config: RunConfig, { signal }: { signal: AbortSignal }) => (calls.push(['train', config]), follow(signal)),
    resume: (directory: string, changes: unknown, { signal, ...rest }: { signal: AbortSignal }) => (calls.push(['resume', directory, changes, rest]), follow(signal)),
    loadModel: (path: string, options: unknown) => Promise.resolve((calls.push(['loadModel', path, options]), model)),
    initModel: (options: unknown) => Promise.resolve((calls.push(['initModel', options]), { parameters: 1234, files: ['config.json'] })),
    inspectData: () => Promise.reject(new FulltuneError('E_DATA', 'no rows', { where: 'd.jsonl', remedy: 'Add some.' })),
    inspectModel: () => Promise.reject(new TypeError('broken')),
    chooseEngine: () => Promise.resolve({ engine: 'embedded', choices: [] }),
    doctor: () => Promise.resolve({ checks: [{ name: 'Node', ok: false, detail: '18', remedy: 'Install 20.' }] }),
  };
  return { engine: engine as unknown as Engine, calls };
}

/** Splits at spaces. */
async function run(line: string, options: { readonly fake?: FakeRun; readonly terminal?: Recorder } = {}) {
  const terminal = options.terminal ?? recorder();
  const { engine, calls } = fakeEngine(options.fake);
  const code = await main(line.split(' ').filter(Boolean), { terminal, loadEngine: () => Promise.resolve(engine) });
  return { code, out: terminal.out, err: terminal.err, calls };
}

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fulltune-cli-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('flags', () => {
  /** A value that the key takes, as one types it and as it arrives. */
  function sample(key: (typeof CONFIG_KEYS)[number]): readonly [words: readonly string[], value: unknown] {
    const { type, choices } = keyInfo(key);
    switch (type) {
      case 'boolean':
        return [[flagOf(key)], true];
      case 'list':
        return [[flagOf(key), 'a*', flagOf(key), 'b'], ['a*', 'b']];
      case 'choice':
        return [[flagOf(key), choices.at(-1)!], choices.at(-1)];
      case 'integer':
        return [[flagOf(key), '7'], 7];
      case 'number':
        return [[flagOf(key), '2.5e-1'], 0.25];
      case 'text':
        return key === 'rdzv_endpoint' ? [[flagOf(key), 'node:1'], 'node:1'] : [[flagOf(key), 'x'], 'x'];
      default:
        return type satisfies never;
    }
  }

  it.each(CONFIG_KEYS)('%s is one', (key) => {
    const [words, value] = sample(key);
    const command = addConfigFlags(new Command('x')).exitOverride();
    command.parse([...words], { from: 'user' });
    expect(configFromFlags(command)).toEqual({ [key]: value });
  });

  it.each(CONFIG_KEYS.filter((key) => keyInfo(key).type === 'boolean'))('%s has a --no- form', (key) => {
    const command = addConfigFlags(new Command('x')).exitOverride();
    command.parse([`--no-${flagOf(key).slice(2)}`], { from: 'user' });
    expect(configFromFlags(command)).toEqual({ [key]: false });
  });

  it('win over the file', async () => {
    const file = join(folder, 'run.yaml');
    writeFileSync(file, 'model: m\ndataset: d.jsonl\nmax_length: 64\npacking: true\nseed: 1\n');
    const { calls } = await run(`train ${file} --max_length 128 --packing=false --learning-rate 1e-3`);
    expect(calls).toEqual([['train', { model: 'm', dataset: 'd.jsonl', max_length: 128, packing: false, seed: 1, learning_rate: 1e-3 }]]);
  });

  it('are not needed by the examples', async () => {
    const examples = fileURLToPath(new URL('../../examples/', import.meta.url));
    const files = readdirSync(examples).filter((name) => name.endsWith('.yaml'));
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) expect((await run(`plan ${join(examples, file)}`)).calls[0]?.[1], file).toMatchObject({ model: expect.any(String) as string });
  });

  it('take a share in percent', async () => {
    const { calls } = await run('train --model m --dataset d.jsonl --eval-split 5%');
    expect(calls[0]?.[1]).toMatchObject({ eval_fraction: 0.05 });
  });

  it.each([
    ['train --max-lenght 3', 'E_CONFIG: unknown option --max-lenght (fulltune train)\n  Did you mean --max-length?'],
    ['train --maxlength 3', 'Did you mean --max-length?'],
    ['train --tf32', 'E_CONFIG: this version of fulltune does not have --tf32'],
    ['train --batch_size 3', '--batch-size is called --train-batch-size here'],
    ['train --max_seq_length 3 --max-length 4', 'E_CONFIG: max_length and max_seq_length both set max_length (flags)\n  Keep max_length alone.'],
    ['train --max_seq_length 1', '--max-length is 1; it must be a whole number from 2'],
    ['train --resume-from-checkpoint x', 'does not have --resume-from-checkpoint (flags)\n  To go on with a run: fulltune resume RUN'],
    ['train --threads many', "E_CONFIG: --threads is 'many'; it must be a whole number from 1 to 1024 (flags)"],
    ['train --threads 0', 'E_CONFIG: --threads is 0; it must be a whole number from 1 to 1024'],
    ['train --eval-split 60%', '--eval-fraction is 0.6; it must be a number from 0 to 0.5'],
    ['train --optim adam', "--optim is 'adam'; it must be one of adamw"],
    ['train --model m', 'E_CONFIG: dataset is missing (flags)'],
    ['train nowhere.yaml', "E_FILE: the config file 'nowhere.yaml' does not exist"],
    ['train model-folder', "E_FILE: 'model-folder' is not a config file"],
    ['train --packing false', 'A switch takes no value'],
    ['train a.yaml b.yaml', "E_CONFIG: too many arguments for 'train'. Expected 1 argument but got 2."],
    ['resume', "E_CONFIG: missing required argument 'run' (fulltune resume)"],
    ['eval --model m', 'dataset is missing'],
    ['eval --model m --dataset d.jsonl --learning-rate 1', 'unknown option --learning-rate'],
    ['generate --model m', "required option '--prompt <text>' not specified"],
    ['generate --model m --prompt x --top-p 0', 'It must be a number above 0, at most 1.'],
    ['generate --model m --prompt x --temperature -1', 'It must be a number from 0 to 100.'],
    ['init new', "required option '--like <directory>' not specified"],
    ['init new --like m --hidden-size 1.5', 'It must be a whole number from 1'],
    ['init new --like m --max-shard-size 3Q', "'3Q' is not an amount of memory"],
    ['init new --like m --dtype int8', 'Allowed choices are float32, bfloat16, float16.'],
    ['inspect model', 'no model is named'],
    ['inspect model a --model b', "two models are named: 'a' and --model 'b'"],
    ['inspect modle', "unknown command 'modle'"],
    ['trian', "E_CONFIG: 'trian' is not a command of fulltune (fulltune)\n  Did you mean fulltune train?"],
    ['--frobnicate', 'unknown option --frobnicate'],
  ])('%s is refused', async (line, message) => {
    const { code, out, err, calls } = await run(line);
    expect(err).toContain(message);
    expect([code, out, calls]).toEqual([2, '', []]);
  });
});

describe('train', () => {
  it('shows the run as plain lines', async () => {
    const { code, out } = await run('train --model m --dataset d.jsonl');
    expect(code).toBe(0);
    expect(out).toContain('\nstep 1/2  epoch 0.20  loss 3.214');
    expect(out).toContain('\nstep 2/2  epoch 0.40  loss 2.500');
    expect(out).toContain('\neval at step 2  loss 2.250');
    expect(out).toContain('\nwarning  slow disk\n');
    expect(out).toContain("fulltune eval --model 'runs/a b/model' --dataset d.jsonl\n");
    expect(out).not.toContain('\u001b');
  });

  it('writes over one line on a terminal, and leaves the last step', async () => {
    const terminal = recorder({ live: true, paint: SIGNS });
    const { out } = await run('train --model m --dataset d.jsonl --eval-dataset e.jsonl', { terminal });
    expect(out.startsWith('\r\u001b[2K<dim:reading model and data …>\r\u001b[2Kmodel ')).toBe(true);
    expect(out).toContain('\r\u001b[2K<cyan:████████████░░░░░░░░ 1/2>'.replace('████████████░░░░░░░░', '██████████░░░░░░░░░░'));
    expect(out).toContain('\r\u001b[2Keval at step 2');
    expect(out).toContain('--dataset e.jsonl');
    const kept = await run('train --model m --dataset d.jsonl', { terminal: recorder({ live: true }), fake: { events: [START, EVENTS[1]!, END] } });
    expect(kept.out).toMatch(/ 1\/2 .*\n\nfinished/);
  });

  it('--json writes events as lines and nothing else', async () => {
    const { out, err } = await run('train --model m --dataset d.jsonl --json');
    expect(out.trimEnd().split('\n').map((line) => JSON.parse(line) as RunEvent)).toEqual(EVENTS);
    expect(err).toBe('');
  });

  it('--dry-run prints the plan and starts nothing', async () => {
    const { code, out, calls } = await run('train --model m --dataset d.jsonl --dry-run');
    expect(calls).toEqual([['plan', { model: 'm', dataset: 'd.jsonl' }]]);
    expect(out).toContain('FITS: 244.0 MiB of 800.0 MiB');
    expect(code).toBe(0);
    for (const verb of ['plan', 'inspect memory']) expect((await run(`${verb} --model m --dataset d.jsonl`)).out).toBe(out);
    expect(JSON.parse((await run('plan --model m --dataset d.jsonl --json')).out)).toEqual(FITS);
  });

  it("prints the user's mistakes without a stack and ends with 2", async () => {
    const failure = new FulltuneError('E_MODEL', 'heads do not divide', { where: 'config.json', remedy: 'Repair it.' });
    const { code, err } = await run('train --model m --dataset d.jsonl', { fake: { events: [], failure } });
    expect([code, err]).toEqual([2, 'E_MODEL: heads do not divide (config.json)\n  Repair it.\n']);
  });

  it('prints bugs with their stack and ends with 1', async () => {
    const { code, err } = await run('train --model m --dataset d.jsonl', { fake: { events: [START], failure: new TypeError('undefined is not a function') } });
    expect(code).toBe(1);
    expect(err).toMatch(/TypeError: undefined is not a function\n\s+at .*\nThis is a bug in fulltune: please report it/s);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('the first %s stops after a checkpoint, with 130', async (name) => {
    const listeners = process.listenerCount(name);
    let aborted = false;
    const { code, out } = await run('train --model m --dataset d.jsonl', {
      fake: {
        events: [START, EVENTS[1]!, { ...END, reason: 'interrupted', modelPath: null }], reason: 'interrupted',
        before: (event, signal) => {
          if (event.kind === 'step') process.emit(name);
          if (event.kind === 'end') aborted = signal.aborted;
        },
      },
    });
    expect([code, aborted]).toEqual([130, true]);
    expect(out).toContain('finishing: writing a checkpoint … (press again to stop at once)\n');
    expect(out).toContain("  fulltune resume 'runs/a b'\n");
    expect(process.listenerCount(name)).toBe(listeners);
  });

  it.each(['', ' --json'])('memory pressure ends with 75 and the command that goes on in less memory%s', async (json) => {
    const { code, out, err } = await run(`train --model m --dataset d.jsonl${json}`, {
      fake: {
        events: [START, { ...END, reason: 'memory-pressure', modelPath: null, suggestedMemoryBytes: 3520 * 1024 ** 2 }],
        reason: 'memory-pressure', suggestedMemoryBytes: 3520 * 1024 ** 2,
      },
    });
    expect(code).toBe(75);
    expect(json === '' ? out : err).toContain("fulltune resume 'runs/a b' --memory 3520MiB\n");
  });

  it('an interruption before the first step ends with 130', async () => {
    const { code, out } = await run('train --model m --dataset d.jsonl', {
      fake: { events: [], failure: Object.assign(new Error('stopped'), { name: 'AbortError' }) },
    });
    expect([code, out]).toEqual([1, '']); // nobody interrupted: an AbortError from nowhere is a bug
    const fake: FakeRun = { events: [END], failure: Object.assign(new Error('stopped'), { name: 'AbortError' }), before: () => process.emit('SIGINT') };
    const interrupted = await run('train --model m --dataset d.jsonl --json', { fake });
    expect(interrupted.code).toBe(130);
    expect(interrupted.err).toContain('interrupted before the first step');
  });
});

describe('other verbs', () => {
  it('resume passes changes and checkpoint', async () => {
    const { code, calls } = await run('resume runs/x --max-steps 90 --resume_from_checkpoint checkpoint-40');
    expect(calls).toEqual([['resume', 'runs/x', { max_steps: 90 }, { replan: false, checkpoint: 'checkpoint-40' }]]);
    expect(code).toBe(0);
  });

  it('eval prints loss and perplexity, and frees the model', async () => {
    const { code, out, calls } = await run('eval --model m --dataset d.txt --max-length 64 --no-packing --batch-size 2 --threads 1');
    expect(out).toBe('loss        1.500000 nats per token\nperplexity  4.48169\ntokens      1,200 of 10 documents\ntime        2.0 s\n');
    expect(calls.map(([verb]) => verb)).toEqual(['loadModel', 'evaluate', 'dispose']);
    expect(calls[0]).toEqual(['loadModel', 'm', { threads: 1 }]);
    expect(calls[1]?.[1]).toMatchObject({ dataset: 'd.txt', maxLength: 64, packing: false, batchSize: 2 });
    expect(code).toBe(0);
    expect(JSON.parse((await run('eval --model m --dataset d.txt --json')).out)).toMatchObject({ loss: 1.5, tokens: 1200 });
  });

  it('generate streams the answer', async () => {
    const { out, calls } = await run('generate --model m --prompt Once --max-new-tokens 5 --temperature 0.5 --top-p 0.9 --seed 3');
    expect(out).toBe('there was\n');
    expect(calls[1]?.[1]).toBe('Once');
    expect(calls[1]?.[2]).toMatchObject({ maxNewTokens: 5, temperature: 0.5, topP: 0.9, seed: 3 });
    expect((await run('generate --model m --prompt Hi --chat')).calls[1]?.[1]).toEqual([{ role: 'user', content: 'Hi' }]);
  });

  it('init passes sizes', async () => {
    const { out, calls } = await run('init new --like m --hidden_size 64 --num-hidden-layers 2 --no-tie-word-embeddings --dtype bfloat16 --max-shard-size 2MiB --seed 1');
    expect(calls).toEqual([['initModel', {
      directory: 'new', like: 'm', overrides: { hidden_size: 64, num_hidden_layers: 2, tie_word_embeddings: false }, dtype: 'bfloat16', maxShardBytes: 2097152, seed: 1,
    }]]);
    expect(out).toBe('1,234 random parameters in new: config.json\n');
  });

  it('doctor ends with 2 when a check fails', async () => {
    expect(await run('doctor')).toMatchObject({ code: 2, out: 'FAILS  Node  18\n             Install 20.\n' });
  });

  it('errors of the engine are told as they are', async () => {
    expect(await run('inspect data --model m --dataset d.jsonl')).toMatchObject({ code: 2, err: 'E_DATA: no rows (d.jsonl)\n  Add some.\n' });
    expect((await run('inspect model m')).code).toBe(1);
  });
});

describe('help', () => {
  it.each(['--help', 'help', 'train --help', 'help train', 'inspect data --help', '--version'])('%s ends with 0', async (line) => {
    const { code, out, err } = await run(line);
    expect([code, err]).toEqual([0, '']);
    expect(out).not.toBe('');
  });

  it('of train has every flag', async () => {
    const { out } = await run('train --help');
    for (const key of CONFIG_KEYS) expect(out).toContain(flagOf(key));
  });

  it('docs/cli.md is up to date', async () => {
    const written = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
    expect(written, 'run: npm run build && node tools/write-cli-docs.js').toBe(await cliReference());
  });
});
