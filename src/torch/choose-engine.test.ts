import { describe, expect, it } from 'vitest';
import { FulltuneError } from '../base/errors.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { chooseEngine, requireEmbedded, type Machine } from './choose-engine.ts';
import type { PythonProbe } from './python.ts';

const config = { model: 'm', dataset: 'd.jsonl' };
const packages = { torch: '2.13.0', transformers: '5.24.0', safetensors: '0.8.0', numpy: '2.4.6', torchao: null };
const gpu: PythonProbe = { python: '3.12.1', executable: '/py', packages, devices: [{ kind: 'cuda', name: 'H200', bytes: 1, freeBytes: 1, bf16: true }] };

const machine = (probe: PythonProbe | Error | undefined): Machine => ({
  hasGpu: () => probe !== undefined,
  probe: () => (probe === undefined ? Promise.reject(new Error('Python was started')) : probe instanceof Error ? Promise.reject(probe) : Promise.resolve(probe)),
});

describe('the engine', () => {
  it('is embedded without a GPU, and no Python is started to find out', async () => {
    expect(await chooseEngine(config, undefined, machine(undefined))).toEqual({ engine: 'embedded', choices: [{ key: 'engine', value: 'embedded', reason: 'there is no GPU' }] });
  });

  it('is torch where a GPU and a worker that works are', async () => {
    const { engine, choices } = await chooseEngine(config, undefined, machine(gpu));
    expect([engine, choices[0]?.reason]).toEqual(['torch', 'H200, torch 2.13.0']);
  });

  it('is embedded where something is missing, which it says with what installs it', async () => {
    const { engine, choices } = await chooseEngine(config, undefined, machine({ ...gpu, packages: { ...packages, transformers: '4.50.0' } }));
    expect([engine, choices[0]?.reason]).toEqual(['embedded', 'there is a GPU, but Python lacks transformers: /py -m pip install "transformers>=5.0"']);
    expect((await chooseEngine(config, undefined, machine({ ...gpu, devices: [] }))).choices[0]?.reason).toContain('does not see it');
    expect((await chooseEngine(config, undefined, machine(new FulltuneError('E_DEVICE', 'no python3')))).engine).toBe('embedded');
  });

  it('is what config or plan say, without a look at the machine', async () => {
    expect(await chooseEngine({ ...config, engine: 'torch' }, undefined, machine(undefined))).toEqual({ engine: 'torch', choices: [] });
    expect((await chooseEngine(config, { engine: 'torch' } as TorchPlan, machine(undefined))).engine).toBe('torch');
    await expect(chooseEngine({ ...config, engine: 'embedded' }, { engine: 'torch' } as TorchPlan, machine(undefined))).rejects.toThrow('the plan is for the torch engine');
    expect((await chooseEngine({ ...config, offload_activation_layers: 2 }, undefined, machine(gpu))).choices[0]?.reason).toBe('offload_activation_layers is set');
  });

  it('takes no settings of the other one', async () => {
    await expect(chooseEngine({ ...config, nproc_per_node: 2 }, undefined, machine(undefined))).rejects.toThrow('nproc_per_node is 2, but the engine is embedded: there is no GPU');
    expect((await chooseEngine({ ...config, python: '/py' }, undefined, machine(undefined))).engine).toBe('embedded');
    await expect(chooseEngine({ ...config, optim: 'adamw_torch_4bit' }, undefined, machine(undefined))).rejects.toMatchObject({
      message: 'optim is adamw_torch_4bit, but the engine is embedded: there is no GPU', remedy: 'Use --engine torch, or optim adamw_8bit.',
    });
    expect((await chooseEngine({ ...config, optim: 'adamw_4bit' }, undefined, machine(gpu))).engine).toBe('torch');
    expect(() => requireEmbedded({ optim: 'adamw_4bit' })).toThrow('optim is adamw_4bit, but the engine is embedded: the run began on it');
    expect(() => requireEmbedded({ optim: 'adamw_8bit' })).not.toThrow();
  });
});
