/** Everything that must be known before a run on PyTorch may write anything: settings, model, data, Python, plan. */

import { formatBytes } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import { choicesOf } from '../train/prepare-run.ts';
import { prepareInputs, type InputOptions, type RunInputs } from '../train/prepare-inputs.ts';
import type { Choice } from '../run/events.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { requireSoundPlan } from '../run/torch-plan-schema.ts';
import { hasGpu } from './choose-engine.ts';
import { defaultTorchPlan, type TorchPlanRequest } from './default-plan.ts';
import { estimateResidentBytes } from './estimate-memory.ts';
import { requireSameRun } from './follow-torch-plan.ts';
import { shapeOfConfig } from './model-shape.ts';
import { planForFound, type FoundPlan } from './plan-found.ts';
import { probePython, pythonCommand, type PythonProbe } from './python.ts';
import { installCommand, requirements } from './requirements.ts';
import { countFrozen } from './torch-request.ts';
import { caseOfPlan } from './torch-case.ts';
import { rowsOf } from './torch-rows.ts';

export interface PreparedTorchRun extends RunInputs {
  readonly plan: TorchPlan;
  readonly python: string;
  readonly choices: readonly Choice[];
  readonly notices: readonly string[];
  /** The config names the device; otherwise the worker takes the best there is. */
  readonly deviceGiven: boolean;
}

export interface TorchPrepareOptions extends InputOptions {
  /** The plan to follow, or who makes one. Default: the planner's, where torch sees a GPU; else what the settings say. */
  readonly plan?: TorchPlan | ((request: TorchPlanRequest) => TorchPlan);
  /** Of a run that goes on with a new plan. */
  readonly rowsPerUpdate?: number;
  readonly choices?: readonly Choice[];
  readonly notices?: readonly string[];
  /** The run is started elsewhere: what this machine has installed does not matter. */
  readonly elsewhere?: boolean;
}

/** Settings that only the embedded engine has. */
const EMBEDDED_ONLY = ['offload_optimizer_state', 'offload_activation_layers'] as const satisfies readonly (keyof RunConfig)[];

export async function prepareTorchRun(config: RunConfig, options: TorchPrepareOptions = {}): Promise<PreparedTorchRun> {
  refuseEmbeddedKeys(config);
  const python = pythonCommand(config.python);
  const probe = options.elsewhere === true ? undefined : await probePython(python, { devices: usesDevices(config, options.plan) });
  const inputs = await prepareInputs(config, options);
  const { settings, model, data, frozen } = inputs;
  const given = typeof options.plan === 'object' ? options.plan : undefined;
  const nodes = settings.nnodes ?? (given === undefined ? 1 : given.worldSize / given.ranksPerNode);
  const ranksPerNode = settings.nproc_per_node ?? given?.ranksPerNode ?? Math.max(1, probe?.devices?.length ?? 1);
  if (nodes > 1 && settings.rdzv_endpoint === undefined && options.elsewhere !== true) {
    throw new FulltuneError('E_CONFIG', `nnodes is ${nodes}, and nothing says where the ranks of all nodes meet`, { where: 'nnodes, rdzv_endpoint', remedy: 'Add --rdzv-endpoint HOST:PORT, HOST being one of the nodes.' });
  }
  const request: TorchPlanRequest = {
    settings, model: model.config, maxLength: data.maxLength, bucketLengths: data.bucketLengths, frozen, worldSize: nodes * ranksPerNode, ranksPerNode,
  };
  const made = options.plan === undefined
    ? makePlan(config, inputs, { ...request, ...(options.rowsPerUpdate === undefined ? {} : { rowsPerUpdate: options.rowsPerUpdate }) }, probe)
    : { plan: typeof options.plan === 'function' ? options.plan(request) : options.plan, choices: [], notices: [] };
  requireSoundPlan(made.plan, 'settings');
  const { plan, choices, notices } = probe === undefined || mayUseGpu(config) ? made : expectedOnHost(made, inputs);
  if (given !== undefined) requireSameRun(given, config, request);
  if (probe !== undefined) requirePackages(probe, plan);
  return {
    ...inputs, plan, python, deviceGiven: config.device !== undefined, notices: [...(options.notices ?? []), ...notices],
    choices: [...(options.choices ?? []), ...choicesOf(config, inputs, data, plan.batch.rowsPerUpdate, plan.packing.rowLengths), ...choices],
  };
}

/** The config leaves the device to the worker, which takes a GPU where there is one. */
function mayUseGpu({ device }: RunConfig): boolean {
  return device === undefined && hasGpu();
}

/** Looking at the devices means importing torch, which takes seconds: only where the plan depends on them. */
function usesDevices(config: RunConfig, plan: TorchPrepareOptions['plan']): boolean {
  return mayUseGpu(config) && (plan === undefined || (typeof plan === 'function' && config.nproc_per_node === undefined));
}

/** The planner's choice for the devices that torch sees. Without any, or where the run is started elsewhere, estimates have nothing to go by. */
function makePlan(config: RunConfig, { settings, model, data, frozen }: RunInputs, request: TorchPlanRequest, probe: PythonProbe | undefined): FoundPlan {
  const { worldSize, ranksPerNode, rowsPerUpdate: kept, maxLength } = request;
  const found = probe?.devices === undefined ? undefined : planForFound(probe.devices, { worldSize, ranksPerNode }, {
    settings, shape: shapeOfConfig(model.name, model.config), rowLength: maxLength, bucketLengths: data.bucketLengths, frozen: countFrozen(frozen, model),
    rows: rowsOf(kept === undefined ? config : { ...config, train_batch_size: kept }, worldSize, maxLength),
  });
  if (found !== undefined) return found;
  if (settings.memory !== undefined) {
    throw new FulltuneError('E_CONFIG', `memory is ${settings.memory}, and ${probe === undefined ? 'no device is known' : 'torch sees no GPU'} to plan for`, {
      where: 'engine, memory',
      remedy: probe === undefined ? 'Plan with fulltune plan --device NAME --json > plan.json, and give --plan plan.json.' : 'Leave memory out, or use engine embedded, which plans for the CPU.',
    });
  }
  const remark = 'the plan is what the settings say and else the plainest; for one that fits a device: fulltune plan --device NAME --json > plan.json, then --plan plan.json';
  return { plan: defaultTorchPlan(request), choices: [], notices: probe === undefined ? [remark] : [] };
}

/** The plan of a run on the CPU with the memory that it will take, unless it says so already. */
function expectedOnHost(made: FoundPlan, { model, frozen }: RunInputs): FoundPlan {
  if (made.plan.expected !== undefined) return made;
  const bytes = Math.round(estimateResidentBytes(caseOfPlan(shapeOfConfig(model.name, model.config), made.plan, { frozenParameters: countFrozen(frozen, model).count })));
  return {
    ...made, plan: { ...made.plan, expected: { peakBytes: bytes, stepMs: null } },
    notices: [...made.notices, `on the CPU each rank will take about ${formatBytes(bytes)}, an estimate: what the system's allocator keeps of freed memory can be a third more`],
  };
}

function refuseEmbeddedKeys(config: RunConfig): void {
  const key = EMBEDDED_ONLY.find((name) => config[name] !== undefined && config[name] !== false && config[name] !== 0);
  if (key !== undefined) {
    throw new FulltuneError('E_CONFIG', `${key} is ${String(config[key])}, which the torch engine does not have`, { where: `engine, ${key}`, remedy: `Leave ${key} out, or use engine embedded.` });
  }
  if (config.device === 'reference') throw new FulltuneError('E_CONFIG', 'device is reference, which the torch engine does not have', { where: 'engine, device', remedy: 'Leave device out, or use engine embedded.' });
}

function requirePackages(probe: PythonProbe, plan: TorchPlan): void {
  const missing = requirements(probe, plan).filter(({ ok }) => !ok);
  if (missing.length === 0) return;
  const text = missing.map(({ name, found, needed }) => `${name} ${found ?? 'is not installed'} (needed: ${needed})`).join('; ');
  throw new FulltuneError('E_DEVICE', `the torch engine cannot run with ${probe.executable}: ${text}`, { where: 'python', remedy: installCommand(probe, missing)! });
}
