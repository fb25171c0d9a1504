import { afterEach, describe, expect, it, vi } from 'vitest';
import { pythonCommand, workerEnvironment, type PythonProbe } from './python.ts';
import { installCommand, requirements } from './requirements.ts';

afterEach(() => vi.unstubAllEnvs());

describe('the Python of the worker', () => {
  it('is the one of the config, of the environment, or python3', () => {
    vi.stubEnv('FULLTUNE_PYTHON', '');
    expect(pythonCommand(undefined)).toBe('python3');
    vi.stubEnv('FULLTUNE_PYTHON', '/env/python');
    expect([pythonCommand(undefined), pythonCommand('/config/python')]).toEqual(['/env/python', '/config/python']);
  });

  it('sees no secrets', () => {
    const secrets = ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN', 'WANDB_API_KEY', 'AWS_SECRET_ACCESS_KEY', 'DB_PASSWORD', 'npm_config__auth', 'GOOGLE_APPLICATION_CREDENTIALS'];
    for (const name of secrets) vi.stubEnv(name, 'hidden');
    for (const name of ['TOKENIZERS_PARALLELISM', 'CUDA_VISIBLE_DEVICES', 'HF_HOME']) vi.stubEnv(name, 'seen');
    const seen = workerEnvironment();
    expect(secrets.filter((name) => name in seen)).toEqual([]);
    expect(Object.values(seen).filter((value) => value === 'seen')).toHaveLength(3);
    expect(Object.values(seen)).not.toContain('hidden');
  });
});

describe('what is missing', () => {
  const packages = { torch: '2.13.0+cpu', transformers: '5.0.0', safetensors: '0.8.0', numpy: '2.4.6', torchao: null };
  const probe: PythonProbe = { python: '3.11.7', executable: '/py', packages };

  it('is nothing where all versions will do', () => {
    expect(installCommand(probe, requirements(probe))).toBeUndefined();
  });

  it('comes with the command that installs it', () => {
    const old = { ...probe, packages: { ...packages, torch: '2.9.1', safetensors: null } };
    expect(installCommand(old, requirements(old))).toBe('/py -m pip install "torch>=2.11" "safetensors>=0.5"');
    const plan = { precision: 'f32', optimizer: { kind: 'adamw_8bit', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, embeddings: false } } as const;
    expect(installCommand(probe, requirements(probe, plan))).toBe('/py -m pip install torchao');
    expect(installCommand(probe, requirements(probe, { precision: 'bf16', optimizer: { kind: 'adamw_4bit', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } }))).toBe('/py -m pip install torchao');
    expect(installCommand({ ...probe, python: '3.10.2' }, requirements({ ...probe, python: '3.10.2' }))).toContain('Python 3.11');
  });
});
