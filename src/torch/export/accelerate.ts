/** accelerate: the YAML of `accelerate launch --config_file`, for one GPU, many, many nodes, FSDP2, DeepSpeed, and TPU through XLA. */

import { ACCELERATE_KEYS } from '../trainer-keys/accelerate.ts';
import { layerwise, machineRules } from './common-rules.ts';
import { zeroStage } from './deepspeed.ts';
import type { ExportedRun } from './exported-run.ts';
import { script, settingsOfScript } from './script-rules.ts';
import type { Sheet } from './sheet.ts';
import { absent, forPlanningOnly, type Rule, type Trainer } from './trainer.ts';

const title = 'accelerate';

/** Its word for each way of sharing the work. */
function distributedType({ distributed, ranks }: ExportedRun): string {
  switch (distributed) {
    case 'fsdp':
      return 'FSDP';
    case 'deepspeed':
      return 'DEEPSPEED';
    case 'tpu':
      return 'XLA';
    case 'none':
    case 'ddp':
      return ranks > 1 ? 'MULTI_GPU' : 'NO';
    default:
      return distributed satisfies never;
  }
}

const sharding: Rule = (run, sheet) => {
  const { plan, ranks, nodes, distributed } = run;
  sheet.set('compute_environment', 'LOCAL_MACHINE');
  sheet.set('distributed_type', distributedType(run));
  sheet.set('num_processes', ranks);
  sheet.set('num_machines', nodes);
  sheet.set('machine_rank', 0);
  sheet.set('main_training_function', 'main');
  sheet.set('use_cpu', false);
  sheet.set('debug', false);
  if (distributed !== 'tpu') sheet.set('gpu_ids', 'all');
  if (nodes > 1) {
    sheet.set('main_process_ip', 'HOST');
    sheet.set('main_process_port', 29500);
    sheet.set('rdzv_backend', 'static');
    sheet.set('same_network', true);
    sheet.lost(`${nodes} nodes`, 'each node needs its own file', 'Write the address of the first node over HOST, and count machine_rank up from 0 on the others.');
  }
  if (distributed === 'fsdp') {
    sheet.set('fsdp_config', {
      fsdp_version: 2, fsdp_reshard_after_forward: plan.sharding !== 'zero2', fsdp_offload_params: plan.cpuOffload, fsdp_auto_wrap_policy: 'TRANSFORMER_BASED_WRAP',
      fsdp_cpu_ram_efficient_loading: true, fsdp_state_dict_type: 'FULL_STATE_DICT', fsdp_activation_checkpointing: plan.recompute.kind !== 'none',
    });
  }
  if (distributed === 'deepspeed') deepspeedConfig(run, sheet);
  if (distributed === 'tpu') {
    sheet.set('downcast_bf16', plan.precision === 'bf16-weights' ? 'yes' : 'no');
    sheet.set('tpu_use_cluster', false);
    sheet.set('tpu_use_sudo', false);
    sheet.set('tpu_env', []);
    if (plan.sharding !== 'none' && plan.sharding !== 'ddp') sheet.lost(`sharding ${plan.sharding}`, 'on TPU through XLA accelerate copies the model to each core', 'Every core needs room for all weights, gradients and optimizer state.');
  }
};

function deepspeedConfig(run: ExportedRun, sheet: Sheet): void {
  const { plan, microBatchSize, accumulationSteps } = run;
  const host = plan.cpuOffload || plan.offloadedState;
  sheet.set('deepspeed_config', {
    zero_stage: zeroStage(run), gradient_accumulation_steps: accumulationSteps, gradient_clipping: plan.maxGradNorm,
    offload_optimizer_device: host ? 'cpu' : 'none', offload_param_device: plan.cpuOffload ? 'cpu' : 'none',
    zero3_init_flag: zeroStage(run) === 3, zero3_save_16bit_model: zeroStage(run) === 3,
    deepspeed_multinode_launcher: 'standard',
  });
  sheet.elsewhere.push(`per_device_train_batch_size ${microBatchSize}`);
}

export const accelerate: Trainer = {
  name: 'accelerate',
  title,
  version: '1.15',
  format: 'yaml',
  fileName: 'accelerate.yaml',
  needs: [],
  keys: ACCELERATE_KEYS,
  plan: {
    sharding,
    precision: (run, sheet) => {
      const { precision } = run.plan;
      sheet.set('mixed_precision', precision === 'bf16' ? 'bf16' : precision === 'f16' ? 'fp16' : 'no');
      if (precision === 'bf16-weights') sheet.elsewhere.push('the model in bfloat16 (dtype=torch.bfloat16)');
    },
    batch: (run, sheet) => {
      if (run.distributed !== 'deepspeed') sheet.elsewhere.push(`per_device_train_batch_size ${run.microBatchSize}`, `gradient_accumulation_steps ${run.accumulationSteps}`);
    },
    packing: script('max_length', ({ rowLength, plan }) => `${rowLength}${plan.packing.packed ? ', packed' : ''}`),
    loss: script('chunked_loss', ({ plan }) => (plan.loss.kind === 'chunked' ? true : undefined)),
    optimizer: script('optim', ({ plan: { optimizer } }) => `${optimizer.kind} (${Object.entries(optimizer).filter(([key]) => key !== 'kind').map(([key, value]) => `${key} ${value}`).join(', ')})`),
    recompute: (run, sheet) => {
      const on = layerwise(title, run, sheet);
      if (on && run.distributed !== 'fsdp') sheet.elsewhere.push('gradient_checkpointing true');
    },
    update: ({ plan }, sheet) => {
      if (plan.update === 'in-backward') sheet.lost('optimizer_in_backward true', 'accelerate updates after backward', 'All gradients exist at once: 4 bytes per parameter more.');
    },
    offloadedState: (run, sheet) => {
      if (!run.plan.offloadedState) return;
      if (run.distributed === 'deepspeed') sheet.lost('offload_optimizer_state true', 'the plan keeps optimizer state in a file', 'DeepSpeed keeps it in the memory of the host.');
      else sheet.lost('offload_optimizer_state true', 'accelerate keeps optimizer state in the memory of the device', 'Use --distributed deepspeed, which keeps it in the memory of the host.');
    },
    offloadedActivations: ({ plan }, sheet) => {
      if (plan.offloadedActivations) sheet.lost('offload_activation_layers', 'the plan keeps saved activations in a file', 'They stay in the memory of the device.');
    },
    attention: script('attention', ({ plan }) => plan.attention),
    compile: ({ plan }, sheet) => {
      if (plan.compile) sheet.set('dynamo_config', { dynamo_backend: 'INDUCTOR' });
    },
    maxGradNorm: (run, sheet) => {
      if (run.distributed !== 'deepspeed') sheet.elsewhere.push(`max_grad_norm ${run.plan.maxGradNorm}`);
    },
    frozen: script('freeze', ({ config, plan }) => (plan.frozen.length === 0 ? undefined : (config.freeze ?? plan.frozen).join(', '))),
    seed: script('seed', ({ plan }) => plan.seed),
  },
  settings: {
    ...settingsOfScript,
    learning_rate: script('learning_rate', ({ settings }) => settings.learning_rate),
    lr_scheduler_type: script('lr_scheduler_type', ({ settings }) => settings.lr_scheduler_type),
    warmup_steps: script('warmup_steps', ({ config }) => config.warmup_steps),
    warmup_ratio: script('warmup_ratio', ({ config }) => config.warmup_ratio),
    logging_steps: script('logging_steps', ({ config }) => config.logging_steps),
    ...machineRules(title),
    allow: forPlanningOnly,
    save_dtype: script('save_dtype', ({ config }) => config.save_dtype),
    device: absent('device', 'accelerate runs on what PyTorch finds', 'Set use_cpu: true for the CPU.'),
  },
  command: (_run, file) => [`accelerate launch --config_file ${file} YOUR_SCRIPT.py --per_device_train_batch_size ${_run.microBatchSize} --gradient_accumulation_steps ${_run.accumulationSteps}`],
  batchOf: (values, run) => {
    const deepspeed = values.get('deepspeed_config') as { readonly gradient_accumulation_steps: number } | undefined;
    return { microBatchSize: run.microBatchSize, accumulationSteps: deepspeed?.gradient_accumulation_steps ?? run.accumulationSteps, ranks: Number(values.get('num_processes')) };
  },
};
