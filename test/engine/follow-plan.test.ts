/** A plan that was given is the plan that runs, or it is refused with what it has and what the settings make; no setting is dropped without a word. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { plan, resume, train, type RunConfig, type RunEvent, type TrainingPlan } from '../../src/index.ts';
import { sharedPath } from '../../src/testing/shared.ts';
import { collectEvents } from '../support/run-events.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const config = (name: string, changes: Partial<RunConfig> = {}): RunConfig => ({
  model: sharedPath('models/stories260K'), dataset: sharedPath('datasets/tinystories_sample.jsonl'), output_dir: join(folder, name), overlong: 'split', shuffle: false,
  max_length: 128, train_batch_size: 4, max_steps: 3, learning_rate: 5e-4, threads: 2, ...changes,
});

const lossesOf = (events: readonly RunEvent[]): readonly number[] => events.flatMap((event) => (event.kind === 'step' ? [event.loss] : []));
const storedPlan = (name: string): TrainingPlan => JSON.parse(readFileSync(join(folder, name, 'plan.json'), 'utf8')) as TrainingPlan;

it('reproduces the run of the plan', async () => {
  const first = await collectEvents(train(config('first', { memory: '130MiB' })));
  const plain = storedPlan('first');
  const second = await collectEvents(train(config('second'), { plan: plain }));
  expect(storedPlan('second')).toEqual(plain);
  expect(lossesOf(second)).toEqual(lossesOf(first));
});

it('refuses a plan that does something else than a setting asks for', async () => {
  const { plan: made } = await plan(config('made', { optim: 'adafactor', gradient_checkpointing: true, chunked_loss: true, per_device_train_batch_size: 2 }));
  expect(made.optimizer.kind).toBe('adafactor');
  const refused: readonly (readonly [Partial<RunConfig>, RegExp])[] = [
    [{ optim: 'adamw' }, /^optimizer: the plan has Adafactor without momentum, and the settings with these data make AdamW/],
    [{ optim: 'adafactor', gradient_checkpointing: false }, /^recompute: the plan has .* make nothing/],
    [{ bf16: true }, /^precision: the plan has f32, .* make bf16 activations/],
    [{ chunked_loss: false }, /^chunked loss: .* make logits of the whole micro-batch/],
    [{ per_device_train_batch_size: 4 }, /^gradient accumulation: .*micro-batch 2 × accumulation 2, .* micro-batch 4 × accumulation 1/],
    [{ offload_optimizer_state: true }, /^offload: /],
    [{ train_batch_size: 8 }, /^gradient accumulation: /],
    [{ max_length: 64 }, /^packing: the plan has rows of 128 tokens, and .* make rows of 64 tokens/],
    [{ max_grad_norm: 0.5 }, /^max_grad_norm: the plan has 1, .* make 0.5/],
    [{ freeze: ['model.norm.weight'] }, /^frozen parameters: the plan has none/],
  ];
  for (const [changes, message] of refused) {
    await expect(plan(config('made', changes), { plan: made }), JSON.stringify(changes)).rejects.toMatchObject({ code: 'E_CONFIG', message: expect.stringMatching(message) as string });
  }
  await expect(plan(config('made'), { plan: made })).resolves.toMatchObject({ kind: 'fits', plan: made });
});

it('says at resume which setting needs a new plan, and goes on bit for bit with one', async () => {
  const whole = lossesOf(await collectEvents(train(config('whole', { max_steps: 4, lr_scheduler_type: 'constant' }))));
  await collectEvents(train(config('parts', { max_steps: 2, lr_scheduler_type: 'constant' })));
  const changes = { max_steps: 4, gradient_checkpointing: true };
  await expect(collectEvents(resume(join(folder, 'parts'), changes))).rejects.toMatchObject({ code: 'E_CONFIG', remedy: expect.stringContaining('--replan') as string });
  const rest = lossesOf(await collectEvents(resume(join(folder, 'parts'), changes, { replan: true })));
  expect(storedPlan('parts').recompute.dropped.length).toBeGreaterThan(3);
  expect(rest).toEqual(whole.slice(2));
});

it('tells how much 8-bit moments lose', async () => {
  const health = (events: readonly RunEvent[]): readonly number[] => events.flatMap((event) => (event.kind === 'health' ? [event.quantisationError ?? NaN] : []));
  const [error] = health(await collectEvents(train(config('coded', { optim: 'adamw_8bit', optim_8bit_embeddings: true }))));
  expect(error).toBeGreaterThan(0.001);
  expect(error).toBeLessThan(0.05);
  expect(health(await collectEvents(train(config('plain'))))).toEqual([NaN]);
});
