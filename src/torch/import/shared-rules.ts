/** Rules for keys that several trainers have from transformers. */

import { existsSync } from 'node:fs';
import { ignored, numeric, short, to, type ImportRule, type ImportRules, type ImportSheet } from './import-sheet.ts';

const OPTIMIZERS: Readonly<Record<string, string>> = {
  adamw: 'adamw', adamw_torch: 'adamw', adamw_torch_fused: 'adamw', adamw_hf: 'adamw', adamw_apex_fused: 'adamw', optimi_adamw: 'adamw',
  adamw_8bit: 'adamw_8bit', adamw_bnb_8bit: 'adamw_8bit', adamw_torch_8bit: 'adamw_8bit', ao_adamw_8bit: 'adamw_8bit',
  adamw_4bit: 'adamw_4bit', adamw_torch_4bit: 'adamw_4bit', ao_adamw_4bit: 'adamw_4bit',
  adafactor: 'adafactor', lion: 'lion', lion_32bit: 'lion', sgd: 'sgd',
};

/** The nearest that fulltune has, and what differs. */
const NEAREST_OPTIMIZER: Readonly<Record<string, readonly [name: string, difference: string]>> = {
  paged_adamw_32bit: ['adamw', 'state is not paged: it is part of the plan'], paged_adamw_8bit: ['adamw_8bit', 'state is not paged: it is part of the plan'],
  paged_lion_32bit: ['lion', 'state is not paged: it is part of the plan'], lion_8bit: ['lion', 'the moment has 32 bits'], paged_lion_8bit: ['lion', 'the moment has 32 bits, and is not paged'],
};

export const optimizer: ImportRule = (value, sheet, from) => {
  const name = String(value);
  const [nearest, difference] = NEAREST_OPTIMIZER[name] ?? [];
  if (nearest !== undefined) {
    sheet.translate(from, value, 'optim', nearest);
    return sheet.ignore(`${from} ${name}`, `fulltune uses ${nearest}: ${difference}`);
  }
  const same = Object.hasOwn(OPTIMIZERS, name) ? OPTIMIZERS[name] : undefined;
  if (same === undefined) return sheet.ignore(`${from} ${name}`, 'fulltune does not have this optimizer; adamw is planned in its place');
  sheet.translate(from, value, 'optim', same);
};

const SCHEDULES = ['linear', 'cosine', 'constant', 'constant_with_warmup'];
const NEAREST_SCHEDULE: Readonly<Record<string, string>> = { cosine_with_min_lr: 'cosine', cosine_with_restarts: 'cosine', polynomial: 'linear', warmup_stable_decay: 'constant_with_warmup' };

export const schedule: ImportRule = (value, sheet, from) => {
  const name = String(value);
  if (SCHEDULES.includes(name)) return sheet.translate(from, value, 'lr_scheduler_type');
  const nearest = NEAREST_SCHEDULE[name];
  if (nearest !== undefined) sheet.translate(from, value, 'lr_scheduler_type', nearest);
  sheet.ignore(`${from} ${name}`, `fulltune has ${SCHEDULES.join(', ')}; ${nearest ?? 'linear'} is planned in its place`);
};

/** From transformers 5 on a value below 1 is a share of all steps. */
const warmupSteps: ImportRule = (value, sheet, from) => {
  const steps = numeric(value);
  if (typeof steps === 'number' && steps > 0 && steps < 1) sheet.translate(from, value, 'warmup_ratio', steps);
  else sheet.translate(from, value, 'warmup_steps', steps);
};

/** A step count, or from -1 or a share nothing. */
function steps(key: 'eval_steps' | 'save_steps' | 'logging_steps'): ImportRule {
  return (value, sheet, from) => {
    const count = numeric(value);
    if (typeof count === 'number' && count > 0 && count < 1) return sheet.ignore(`${from} ${count}`, 'fulltune counts steps, no share of the run; left out: each epoch and at the end');
    sheet.translate(from, value, key, typeof count === 'number' ? Math.round(count) : count);
  };
}

export const saveStrategy: ImportRule = (value, sheet, from) => {
  if (value === 'epoch' || value === 'steps') return sheet.say(`${from} ${value}`, value === 'epoch' ? 'each epoch, the default' : 'save_steps');
  sheet.ignore(`${from} ${short(value)}`, 'fulltune writes a checkpoint each epoch and at the end');
};

export const evalStrategy: ImportRule = (value, sheet, from) => {
  if (value === 'epoch' || value === 'steps') return sheet.say(`${from} ${value}`, value === 'epoch' ? 'each epoch, the default' : 'eval_steps');
  if (value === 'no' || value === false) return sheet.say(`${from} no`, 'no eval_dataset');
  sheet.ignore(`${from} ${short(value)}`, 'fulltune evaluates each epoch and at the end, or every eval_steps');
};

/** A file here, or a name that is looked up elsewhere: fulltune reads files only. */
export function datasetFile(value: unknown, sheet: ImportSheet, from: string, key: 'dataset' | 'eval_dataset' = 'dataset'): void {
  if (typeof value === 'string' && /\.(jsonl|ndjson|json|txt)$/i.test(value) && existsSync(value)) return sheet.translate(from, value, key);
  sheet.ignore(`${from} ${short(value)}`, `no .jsonl, .json or .txt file of that name is here${key === 'dataset' ? ', so it is planned without data: every row full; give --dataset FILE' : '; give --eval-dataset FILE'}`);
}

const withDevices = 'how devices share the work is planned by fulltune plan --device, and run by train --engine torch';
const adapters = 'an adapter or quantised weights; fulltune trains every parameter, which needs more memory and a lower learning rate, such as 2e-5';

/** Keys of TrainingArguments. */
export const TRANSFORMERS_RULES: ImportRules = {
  output_dir: ignored('their runs and ours do not share a folder; give --output-dir'),
  per_device_train_batch_size: to('per_device_train_batch_size', numeric),
  gradient_accumulation_steps: to('gradient_accumulation_steps', numeric),
  learning_rate: to('learning_rate', numeric),
  lr_scheduler_type: schedule,
  warmup_steps: warmupSteps,
  warmup_ratio: to('warmup_ratio', numeric),
  optim: optimizer,
  weight_decay: to('weight_decay', numeric),
  adam_beta1: to('adam_beta1', numeric), adam_beta2: to('adam_beta2', numeric), adam_epsilon: to('adam_epsilon', numeric),
  max_grad_norm: to('max_grad_norm', numeric),
  num_train_epochs: to('num_train_epochs', numeric),
  max_steps: (value, sheet, from) => (Number(value) > 0 ? sheet.translate(from, value, 'max_steps', numeric(value)) : sheet.leave(from)),
  seed: to('seed'),
  bf16: to('bf16', (value) => value === 'auto' || value), fp16: to('fp16'),
  gradient_checkpointing: to('gradient_checkpointing'), activation_checkpointing: to('gradient_checkpointing'),
  gradient_checkpointing_kwargs: ignored('recompute of fulltune has no options'), activation_checkpointing_kwargs: ignored('recompute of fulltune has no options'),
  logging_steps: steps('logging_steps'), eval_steps: steps('eval_steps'), save_steps: steps('save_steps'),
  eval_strategy: evalStrategy, evaluation_strategy: evalStrategy, save_strategy: saveStrategy, logging_strategy: ignored('fulltune logs every logging_steps'),
  save_total_limit: to('save_total_limit'),
  load_best_model_at_end: to('load_best_model_at_end'),
  metric_for_best_model: ignored('the best model is the one with the lowest evaluation loss'), greater_is_better: ignored('the best model is the one with the lowest evaluation loss'),
  per_device_eval_batch_size: ignored('evaluation uses the rows of a micro-batch'),
  use_cpu: ignored('the embedded engine runs on the CPU; with --engine torch, on what is there'),
  optim_args: ignored('the options of an optimizer are keys of their own: sgd_momentum, adafactor_beta1'),
  torch_compile: ignored('the embedded engine compiles every step; PyTorch as its plan says'),
  neftune_noise_alpha: ignored('fulltune adds no noise to embeddings; the run differs'),
  label_smoothing_factor: ignored('fulltune does not smooth labels; the run differs'),
  auto_find_batch_size: ignored('fulltune finds the micro-batch before the run: leave per_device_train_batch_size out'),
  use_liger_kernel: ignored('fulltune has fused kernels of its own, and chunks the loss where that helps'),
  do_train: (_value, sheet, from) => sheet.say(from, 'what fulltune train does'),
  trust_remote_code: ignored('no code out of a model folder is ever run'),
  data_seed: ignored('fulltune has one seed'),
};

/** Why keys without a rule are left out, by their names. */
const REASONS: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/^(lora|peft|relora|loraplus|pissa|oft|adapter|bnb_4bit|load_in_|use_peft|use_rslora|use_dora|quantization|double_quant|gptq|additional_target|create_new_adapter|merge_lora|module_dropout)/, adapters],
  [/^(fsdp|deepspeed|ddp|dp_|tensor_parallel|context_parallel|sequence_parallel|parallelism|accelerator_config|ray_|world_size|local_rank|device_map|ring_attn|heads_k)/, withDevices],
  [/^(wandb|mlflow|comet|swanlab|trackio|report_to|run_name|logging|log_|project|use_wandb|use_tensorboard|use_mlflow|use_comet|use_trackio|use_swanlab|plot_loss|hub_|push_to_hub|disable_tqdm|otel|gradio|include_)/,
    'fulltune reports to events.jsonl, and sends nothing anywhere'],
  [/^(dataloader|dataset_|datasets|preprocessing|overwrite|streaming|shuffle_|remove_unused|max_samples|tokenizer|group_by|length_column|data_|media|buffer|mix_|pretraining)/,
    'fulltune reads, tokenises and caches the data in its own way'],
  [/^(attn_|flash_|sdp_|xformers|flex_|eager_|sage_|use_kernels|tf32|bf16_full|fp16_full|torch_|low_cpu|trust_remote|.*dtype$)/, 'the engine has one way for this, which the plan describes'],
  [/^(resume|auto_resume|ignore_data_skip|save_only|save_safetensors|save_on_each|save_first)/, 'checkpoints are always whole; go on with fulltune resume'],
  [/^(do_|predict|generat|eval_|infer|vllm|sglang|export)/, 'evaluation is the loss on eval_dataset; models are tried with fulltune generate'],
];

export function reasonFor(key: string): string {
  return REASONS.find(([pattern]) => pattern.test(key))?.[1] ?? 'fulltune has nothing like it';
}
