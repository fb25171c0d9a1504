/**
 * Published keys of DeepSpeed 0.19.8 that matter to one training run: section and key, from deepspeed/runtime/constants.py,
 * runtime/precision_config.py, runtime/zero/config.py and docs/_pages/config-json.md. An optimizer and a scheduler have free `params`.
 */

export const DEEPSPEED_KEYS: ReadonlySet<string> = new Set(`
  train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps gradient_clipping steps_per_print wall_clock_breakdown
  zero_allow_untested_optimizer zero_force_ds_cpu_optimizer
  optimizer.type optimizer.params scheduler.type scheduler.params
  bf16.enabled bf16.bf16_master_weights_and_grads bf16.bf16_optimizer_states
  fp16.enabled fp16.loss_scale fp16.initial_scale_power fp16.loss_scale_window fp16.hysteresis fp16.min_loss_scale
  zero_optimization.stage zero_optimization.overlap_comm zero_optimization.contiguous_gradients
  zero_optimization.offload_optimizer.device zero_optimization.offload_optimizer.pin_memory
  zero_optimization.offload_param.device zero_optimization.offload_param.pin_memory
  zero_optimization.stage3_gather_16bit_weights_on_model_save
`.trim().split(/\s+/));
