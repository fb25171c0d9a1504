import { describe, expect, it } from 'vitest';
import type { DeviceSpec } from '../devices/device.ts';
import type { Program } from '../devices/program.ts';
import { memoryReport } from '../memory/report.ts';
import { parseModelConfig, type ModelConfig } from '../models/model-config.ts';
import { plainPlan, type TrainingPlan } from '../run/training-plan.ts';
import { compile, type CompiledRun } from './compile.ts';

/** SmolLM2-135M's shape, with as many layers as asked for. */
function smolLm(layers: number): ModelConfig {
  return parseModelConfig({
    architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 576, intermediate_size: 1536, num_hidden_layers: layers, num_attention_heads: 9,
    num_key_value_heads: 3, vocab_size: 49152, tie_word_embeddings: true, max_position_embeddings: 2048, rms_norm_eps: 1e-5, hidden_act: 'silu',
  }, 'test');
}

const device: DeviceSpec = { name: 'spec', threads: 2, alignment: 64, workspaceBytes: (op) => (op.startsWith('matmul') ? 4_000_000 : 0) };

function plan(microBatchSize: number, accumulationSteps: number, changes: Partial<TrainingPlan> = {}): TrainingPlan {
  return {
    ...plainPlan({ rowLength: 512 }),
    batch: { rowsPerUpdate: microBatchSize * accumulationSteps, microBatchSize, accumulationSteps },
    ...changes,
  };
}

const build = (layers: number, trainingPlan: TrainingPlan): CompiledRun => compile({ model: smolLm(layers), plan: trainingPlan, device, purpose: 'train' });

describe('compile', () => {
  it('places a 30-layer model within 2 % of its lower bound, fused and accumulating', () => {
    for (const trainingPlan of [plan(8, 1), plan(2, 4)]) {
      const { memory } = build(30, trainingPlan);
      expect(memory.arenaBytes).toBeGreaterThanOrEqual(memory.peakLiveBytes);
      expect(memory.arenaBytes).toBeLessThanOrEqual(memory.peakLiveBytes * 1.02);
    }
  });

  it('fuses the step when an update is one micro-batch, and has micro-steps and an update otherwise', () => {
    expect(build(2, plan(4, 1)).steps.kind).toBe('fused');
    const { steps, evaluate } = build(2, plan(2, 2, { packing: { packed: false, rowLengths: [128, 512] } }));
    expect(steps.kind === 'accumulating' ? [...steps.micro.keys()] : []).toEqual([128, 512]);
    expect([...evaluate.keys()]).toEqual([128, 512]);
  });

  it('keeps persistent values at one offset in all programs', () => {
    const { steps } = build(2, plan(2, 2));
    if (steps.kind !== 'accumulating') throw new Error('expected micro-steps');
    const { first, next } = steps.micro.get(512)!;
    const weight = (program: Program): number => program.instructions.find((i) => i.op === 'embedding')!.inputs[1]!.offset;
    expect(weight(next)).toBe(weight(first));
    const updated = steps.update.commit.instructions.filter((i) => i.op === 'adamw').map((i) => i.outputs[0]!.offset);
    expect(updated).toContain(weight(first));
  });

  it('commits only where parameters or optimizer state change', () => {
    const { steps } = build(2, plan(4, 1));
    if (steps.kind !== 'fused') throw new Error('expected a fused step');
    const { compute, commit } = steps.step;
    expect(commit.instructions[0]!.op).toBe('adamw');
    expect(commit.commitIndex).toBe(0);
    expect(compute.instructions.some((i) => i.op === 'adamw')).toBe(false);
    expect(compute.commitIndex).toBe(compute.instructions.length);
  });

  it('gives frozen parameters neither gradient nor state', () => {
    const frozen = ['model.embed_tokens.weight', 'model.norm.weight'];
    const all = memoryReport(build(2, plan(2, 2)).memory);
    const fewer = build(2, plan(2, 2, { frozen }));
    const names = [...fewer.memory.persistent.keys()];
    expect(names.some((name) => name.startsWith('gradient:model.embed_tokens'))).toBe(false);
    expect(names).not.toContain('model.embed_tokens.weight.exp_avg');
    expect(all.arenaBytes - memoryReport(fewer.memory).arenaBytes).toBeGreaterThan(49152 * 576 * 4 * 3);
  });

  it('counts in its report exactly the bytes that are live at the peak', () => {
    const report = memoryReport(build(30, plan(4, 2)).memory);
    expect(report.classes.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(report.peakLiveBytes);
    expect(report.groups.map(({ name }) => name)).toContain('layers.0 … layers.29 (each)');
    expect(report.forecastBytes).toBe(report.arenaBytes + report.processBytes);
    // Instructions take room in the process, too: 30 layers have thousands.
    expect(report.processBytes).toBeGreaterThan(memoryReport(build(2, plan(4, 2)).memory).processBytes);
  });

  it('compiles for evaluation alone without gradients or state', () => {
    const { memory, steps } = compile({ model: smolLm(2), plan: plan(2, 1), device, purpose: 'evaluate' });
    expect(steps.kind).toBe('none');
    expect([...memory.persistent.values()].some(({ value }) => value.storage === 'gradient' || value.storage === 'optimizer-state')).toBe(false);
  });
});
