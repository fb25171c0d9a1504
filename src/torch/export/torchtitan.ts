/**
 * torchtitan: the TOML of `--job.config_file`, which versions up to 0.2.2 read; 0.3 takes the same keys as flags, `--training.seq_len 2048`. It is a
 * pretraining platform: datasets are registered in code, and a run counts steps.
 */

import { TORCHTITAN_KEYS } from '../trainer-keys/torchtitan.ts';
import { frozenIsLost, machineRules, torchrun } from './common-rules.ts';
import type { ExportedRun } from './exported-run.ts';
import { absent, forPlanningOnly, type Trainer } from './trainer.ts';
import { hostMemory } from './transformers-rules.ts';

const title = 'torchtitan';

/** Its model by our model_type or name, and the sizes that it knows. */
const FAMILIES: readonly { readonly name: string; readonly test: RegExp; readonly flavors: readonly string[] }[] = [
  { name: 'llama3', test: /llama-?3(?!.*-3\.2)|llama-3\.1/i, flavors: ['8B', '70B', '405B'] },
  { name: 'qwen3', test: /qwen3/i, flavors: ['0.6B', '1.7B', '4B', '8B', '14B', '32B'] },
];

function familyOf(model: string): { readonly name: string; readonly flavor: string | undefined } | undefined {
  const family = FAMILIES.find(({ test }) => test.test(model));
  if (family === undefined) return undefined;
  const size = /(\d+(?:\.\d+)?)b\b/i.exec(model)?.[1];
  return { name: family.name, flavor: family.flavors.find((flavor) => flavor === `${size}B`) };
}

/** What a model or size that torchtitan does not know is called; it stops at once on this name. */
const TO_FILL_IN = 'to be filled in';

export const torchtitan: Trainer = {
  name: 'torchtitan',
  title,
  version: '0.2.2',
  format: 'toml',
  fileName: 'torchtitan.toml',
  needs: ['model', 'steps'],
  keys: TORCHTITAN_KEYS,
  plan: {
    packing: ({ plan, rowLength }, sheet) => {
      sheet.set('training.seq_len', rowLength);
      if (!plan.packing.packed) sheet.lost('packing false', 'torchtitan cuts one stream of text into rows of equal length', 'Every row is full.');
      else sheet.lost('packing true', 'torchtitan lets the documents of a row attend to each other unless the model flavor has a block-causal mask', 'Choose a flavor with attn_mask_type block_causal.');
    },
    batch: (run, sheet) => {
      sheet.set('training.local_batch_size', run.microBatchSize);
      sheet.set('training.global_batch_size', run.rowsPerUpdate);
    },
    precision: (run, sheet) => {
      const { precision } = run.plan;
      sheet.set('training.dtype', precision === 'bf16-weights' ? 'bfloat16' : 'float32');
      sheet.set('training.mixed_precision_param', precision === 'f32' || precision === 'f16' ? 'float32' : 'bfloat16');
      if (precision === 'f16') sheet.lost('fp16 true', 'torchtitan has no float16', 'It trains in float32: set training.mixed_precision_param to bfloat16 for speed.');
      if (precision === 'bf16-weights') sheet.lost('bf16_weights true', 'torchtitan rounds updates of bfloat16 weights to the nearest value', 'Updates smaller than half a step of bfloat16 are lost.');
    },
    loss: ({ plan }, sheet) => {
      if (plan.loss.kind === 'chunked') sheet.lost('chunked_loss true', 'torchtitan 0.2 makes the logits whole', 'More memory at the end of forward: tokens × vocabulary × 4 bytes, several times.');
    },
    optimizer: ({ plan: { optimizer } }, sheet) => {
      if (optimizer.kind === 'adamw') {
        sheet.set('optimizer.name', 'AdamW');
        sheet.set('optimizer.beta1', optimizer.beta1);
        sheet.set('optimizer.beta2', optimizer.beta2);
        sheet.set('optimizer.eps', optimizer.epsilon);
      } else {
        sheet.set('optimizer.name', 'AdamW');
        sheet.lost(`optim ${optimizer.kind}`, 'torchtitan has Adam and AdamW', 'It uses AdamW: 8 bytes of state per parameter.');
      }
      sheet.set('optimizer.weight_decay', optimizer.weightDecay);
    },
    recompute: ({ plan }, sheet) => {
      sheet.set('activation_checkpoint.mode', { none: 'none', selective: 'selective', layers: 'full' }[plan.recompute.kind]);
      if (plan.recompute.kind === 'selective') sheet.set('activation_checkpoint.selective_ac_option', 'op');
    },
    update: ({ plan }, sheet) => sheet.set('optimizer.early_step_in_backward', plan.update === 'in-backward'),
    sharding: ({ distributed, ranks, plan }, sheet) => {
      const sharded = distributed === 'fsdp' || distributed === 'deepspeed';
      if (distributed === 'deepspeed') sheet.lost('--distributed deepspeed', 'torchtitan shards with FSDP2', 'It does.');
      if (distributed === 'tpu') sheet.lost('--distributed tpu', 'torchtitan runs on GPUs', 'Export to accelerate.');
      sheet.set('parallelism.data_parallel_replicate_degree', sharded ? 1 : ranks);
      sheet.set('parallelism.data_parallel_shard_degree', sharded ? ranks : 1);
      sheet.set('parallelism.fsdp_reshard_after_forward', plan.sharding === 'zero2' ? 'never' : 'default');
      sheet.set('training.enable_cpu_offload', plan.cpuOffload);
    },
    ...hostMemory(title),
    offloadedActivations: ({ plan }, sheet) => {
      if (plan.offloadedActivations) sheet.lost('offload_activation_layers', 'torchtitan keeps saved activations in the memory of the device', 'More memory than the plan.');
    },
    attention: ({ plan }, sheet) => {
      if (plan.attention !== 'sdpa') sheet.lost(`attention ${plan.attention}`, 'torchtitan takes it from the model flavor', 'Choose a flavor with that attention.');
    },
    compile: ({ plan }, sheet) => sheet.set('compile.enable', plan.compile),
    maxGradNorm: ({ plan }, sheet) => {
      sheet.set('training.max_norm', plan.maxGradNorm === 0 ? 1e9 : plan.maxGradNorm);
    },
    frozen: frozenIsLost(title),
    seed: ({ plan }, sheet) => sheet.set('debug.seed', plan.seed),
  },
  settings: {
    model: ({ settings: { model } }, sheet) => {
      const family = familyOf(model);
      sheet.set('model.name', family?.name ?? TO_FILL_IN);
      sheet.set('model.flavor', family?.flavor ?? TO_FILL_IN);
      sheet.set('model.hf_assets_path', model);
      sheet.set('checkpoint.enable', true);
      sheet.set('checkpoint.initial_load_path', model);
      sheet.set('checkpoint.initial_load_in_hf', true);
      sheet.set('checkpoint.last_save_in_hf', true);
      sheet.lost(`model ${model}`, family?.flavor === undefined ? 'torchtitan knows models by name and size, and this one not by its own' : `taken to be ${family.name} ${family.flavor} by its name`,
        family?.flavor === undefined ? `Fill in model.name and model.flavor; it has ${FAMILIES.map(({ name, flavors }) => `${name} (${flavors.join(', ')})`).join(', ')}.` : 'The folder must hold the weights: torchtitan loads no ids.');
    },
    dataset: ({ config: { dataset } }, sheet) => {
      if (dataset === undefined) return;
      sheet.set('training.dataset', TO_FILL_IN);
      sheet.set('training.dataset_path', dataset);
      sheet.lost(`dataset ${dataset}`, 'datasets of torchtitan are registered in code (hf_datasets), and it has no loss on answers only', 'Register a loader, and name it in training.dataset; or export to trl or axolotl.');
    },
    eval_dataset: absent('eval_dataset', 'datasets of torchtitan are registered in code', 'Register one, and set validation.enable and validation.dataset.'),
    eval_fraction: absent('eval_fraction', 'torchtitan keeps no share of the data for evaluation', 'It does not evaluate.'),
    output_dir: ({ settings }, sheet) => sheet.set('job.dump_folder', settings.output_dir ?? 'torchtitan-output'),
    overlong: absent('overlong', 'torchtitan cuts one stream of text into rows', 'Long documents are split.'),
    shuffle: ({ settings }, sheet) => {
      if (settings.shuffle) sheet.lost('shuffle true', 'torchtitan reads documents in their order', 'Shuffle the file first.');
    },
    train_on_inputs: ({ settings: { train_on_inputs: all }, layout }, sheet) => {
      if (!all && layout !== undefined && layout !== 'text' && layout !== 'txt') sheet.lost('train_on_inputs false', 'torchtitan 0.2 has the loss on all tokens', 'It learns the questions, too.');
    },
    chat_template: absent('chat_template', 'torchtitan 0.2 has no chat templates', 'Render the conversations to text first.'),
    learning_rate: ({ settings }, sheet) => sheet.set('optimizer.lr', settings.learning_rate),
    lr_scheduler_type: (run, sheet) => {
      const kind = run.settings.lr_scheduler_type;
      sheet.set('lr_scheduler.decay_type', kind === 'cosine' ? 'cosine' : 'linear');
      sheet.set('lr_scheduler.min_lr_factor', kind === 'constant' || kind === 'constant_with_warmup' ? 1 : 0);
      sheet.set('lr_scheduler.warmup_steps', warmup(run));
    },
    warmup_steps: forPlanningOnly, // with the schedule
    warmup_ratio: forPlanningOnly,
    num_train_epochs: ({ config: { num_train_epochs: epochs }, totalSteps }, sheet) => {
      if (epochs !== undefined) sheet.lost(`num_train_epochs ${epochs}`, 'torchtitan counts steps', `${totalSteps} steps are as many as the plan has.`);
    },
    max_steps: ({ totalSteps }, sheet) => sheet.set('training.steps', totalSteps!),
    logging_steps: ({ settings }, sheet) => sheet.set('metrics.log_freq', settings.logging_steps),
    eval_steps: absent('eval_steps', 'there is nothing to evaluate on (see eval_dataset)', 'It does not evaluate.'),
    load_best_model_at_end: absent('load_best_model_at_end', 'torchtitan keeps the newest checkpoints', 'The last one is the result.'),
    early_stopping_patience: absent('early_stopping_patience', 'torchtitan does not stop early', 'It does all steps.'),
    save_steps: ({ settings, totalSteps }, sheet) => {
      sheet.set('checkpoint.interval', settings.save_steps ?? Math.max(1, Math.ceil(totalSteps! / settings.num_train_epochs)));
    },
    save_total_limit: ({ settings }, sheet) => {
      // One is not allowed there: the newest could be incomplete.
      sheet.set('checkpoint.keep_latest_k', Math.max(2, settings.save_total_limit));
      if (settings.save_total_limit === 1) sheet.lost('save_total_limit 1', 'torchtitan keeps at least two checkpoints', 'It keeps two.');
    },
    ...machineRules(title),
    save_dtype: ({ settings, config }, sheet) => {
      if (settings.save_dtype !== 'source') return sheet.set('checkpoint.export_dtype', settings.save_dtype);
      if (config.save_dtype === 'source') sheet.lost('save_dtype source', 'torchtitan does not look at the type of the base model', 'It saves float32: set checkpoint.export_dtype.');
    },
  },
  command: (run, file) => [`${torchrun(run)} -m torchtitan.train --job.config_file ${file}`],
  batchOf: (values, { ranks }) => {
    const microBatchSize = Number(values.get('training.local_batch_size'));
    return { microBatchSize, accumulationSteps: Number(values.get('training.global_batch_size')) / (microBatchSize * ranks), ranks };
  },
};

function warmup({ settings, totalSteps }: ExportedRun): number {
  return settings.warmup_steps ?? Math.ceil((settings.warmup_ratio ?? 0) * (totalSteps ?? 0));
}
