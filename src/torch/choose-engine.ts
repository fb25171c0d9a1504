/** Which engine trains: what the config says, or torch where a GPU and a worker that works are. Without a GPU no Python is started to find out. */

import { existsSync } from 'node:fs';
import { FulltuneError } from '../base/errors.ts';
import type { Choice } from '../run/events.ts';
import { optimizerName } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { probePython, pythonCommand, type PythonProbe } from './python.ts';
import { installCommand, requirements } from './requirements.ts';

export interface EngineChoice {
  readonly engine: 'embedded' | 'torch';
  /** To be told with the other choices; none where the config decides. */
  readonly choices: readonly Choice[];
}

/** Settings that mean something on the torch engine only; `python` alone may be in a config that many machines share. */
const TORCH_ONLY = [
  'nproc_per_node', 'nnodes', 'rdzv_endpoint', 'rank_timeout', 'sharding', 'cpu_offload', 'attn_implementation', 'torch_compile',
] as const satisfies readonly (keyof RunConfig)[];
/** … and on the embedded one. */
const EMBEDDED_ONLY = ['device', 'offload_optimizer_state', 'offload_activation_layers'] as const satisfies readonly (keyof RunConfig)[];

/** How the machine is asked; tests put something else here. */
export interface Machine {
  hasGpu(): boolean;
  probe(python: string): Promise<PythonProbe>;
}

/** Whether this machine may have a GPU that torch can use: a look at files, no more. */
export function hasGpu(): boolean {
  return ['/dev/nvidiactl', '/dev/nvidia0', '/dev/kfd'].some((path) => existsSync(path)) || (process.platform === 'darwin' && process.arch === 'arm64');
}

const THIS_MACHINE: Machine = {
  hasGpu,
  probe: (python) => probePython(python, { devices: true }),
};

/** `plan`: one that was given, which is for one engine. Throws E_CONFIG for settings of the engine that is not used. */
export async function chooseEngine(config: RunConfig, plan?: TrainingPlan | TorchPlan, machine: Machine = THIS_MACHINE): Promise<EngineChoice> {
  const { engine = 'auto' } = config;
  const planned = plan === undefined ? undefined : 'engine' in plan ? 'torch' : 'embedded';
  if (planned !== undefined && engine !== 'auto' && engine !== planned) {
    throw new FulltuneError('E_CONFIG', `engine is ${engine}, and the plan is for the ${planned} engine`, { where: 'engine, plan', remedy: `Use --engine ${planned}, or another plan.` });
  }
  const choice = planned !== undefined ? { engine: planned, reason: 'the plan is for it' } as const : engine === 'auto' ? await automatic(config, machine) : { engine, reason: 'the config says so' };
  if (choice.engine === 'embedded') refuseTorchKeys(config, choice.reason);
  return { engine: choice.engine, choices: engine === 'auto' ? [{ key: 'engine', value: choice.engine, reason: choice.reason }] : [] };
}

/** Throws E_CONFIG for changes that a run on the embedded engine cannot take. */
export function requireEmbedded(changes: Partial<RunConfig>): void {
  if (changes.engine === 'torch') throw new FulltuneError('E_CONFIG', 'engine cannot change when a run is resumed, and it began on the embedded one', { where: 'engine', remedy: 'Start a new run: its --model may be a checkpoint of this one.' });
  refuseTorchKeys(changes, 'the run began on it');
}

function refuseTorchKeys(config: Partial<RunConfig>, reason: string): void {
  const isTorchOptimizer = config.optim !== undefined && optimizerName(config.optim) === 'adamw_4bit';
  const key = TORCH_ONLY.find((name) => config[name] !== undefined) ?? (isTorchOptimizer ? 'optim' : undefined);
  if (key === undefined) return;
  throw new FulltuneError('E_CONFIG', `${key} is ${String(config[key])}, but the engine is embedded: ${reason}`, {
    where: `engine, ${key}`, remedy: `Use --engine torch, or ${key === 'optim' ? 'optim adamw_8bit' : `leave ${key} out`}.`,
  });
}

async function automatic(config: RunConfig, machine: Machine): Promise<{ readonly engine: 'embedded' | 'torch'; readonly reason: string }> {
  const key = EMBEDDED_ONLY.find((name) => config[name] !== undefined);
  if (key !== undefined) return { engine: 'embedded', reason: `${key} is set` };
  if (!machine.hasGpu()) return { engine: 'embedded', reason: 'there is no GPU' };
  let probe: PythonProbe;
  try {
    probe = await machine.probe(pythonCommand(config.python));
  } catch (error) {
    if (!(error instanceof FulltuneError)) throw error;
    return { engine: 'embedded', reason: `there is a GPU, but no Python for it: ${error.message}` };
  }
  const missing = requirements(probe).filter(({ ok }) => !ok);
  if (missing.length > 0) return { engine: 'embedded', reason: `there is a GPU, but Python lacks ${missing.map(({ name }) => name).join(', ')}: ${installCommand(probe, missing)!}` };
  const [first] = probe.devices ?? [];
  if (first === undefined) return { engine: 'embedded', reason: `there is a GPU, but torch ${probe.packages.torch} does not see it${probe.devicesError === undefined ? '' : `: ${probe.devicesError}`}` };
  return { engine: 'torch', reason: `${probe.devices!.length === 1 ? '' : `${probe.devices!.length} × `}${first.name}, torch ${probe.packages.torch}` };
}
