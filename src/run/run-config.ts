/**
 * What a run is: one set of settings shared by the YAML file, the flags (`--max-length`, also `--max_length`) and TypeScript.
 * Keys are those that users know from transformers and TRL, plus a few that only fulltune has. The schema is in `config-schema.ts`.
 */

import type { TorchOptimizer } from './torch-plan.ts';

export type LearningRateSchedule = 'linear' | 'cosine' | 'constant' | 'constant_with_warmup';
export type Overlong = 'truncate' | 'split' | 'error';
export type SaveDType = 'source' | 'float32' | 'bfloat16' | 'float16';

/** What `allow` may name, in the order in which they are tried. */
export const ALLOWABLE = ['adamw_8bit', 'adamw_4bit', 'bf16', 'bf16_weights', 'adafactor'] as const;
export type Allowable = (typeof ALLOWABLE)[number];

/** Every optimizer of either engine. */
export type OptimizerName = TorchOptimizer['kind'];

export interface RunConfig {
  /** Folder in Hugging Face format, or the id of a model in the local Hugging Face cache. */
  readonly model: string;
  /** A .jsonl, .json or .txt file. */
  readonly dataset: string;
  /** Data to evaluate on. */
  readonly eval_dataset?: string;
  /** Or: this share (0 to 0.5) of the documents of `dataset`, drawn by `seed`, is kept out of training and evaluated on. Default 0. */
  readonly eval_fraction?: number;
  /** Default `runs/<model>-<dataset>-<n>`. */
  readonly output_dir?: string;

  /** Longest row in tokens. Default min(1024, the model's limit, longest document rounded up to 64). */
  readonly max_length?: number;
  /** What happens to documents longer than max_length: cut off, split into several, or refuse. Default truncate. */
  readonly overlong?: Overlong;
  /** Several documents per row, attention and positions kept apart. Default true. */
  readonly packing?: boolean;
  /** A new order of documents each epoch. Default true. */
  readonly shuffle?: boolean;
  /** Loss on all tokens instead of assistant or completion tokens only. Default false. */
  readonly train_on_inputs?: boolean;
  /** `chatml` or a file with a Jinja template. Default: the model's own. */
  readonly chat_template?: string;

  /** Rows per update (packed rows when packing). Default 8. */
  readonly train_batch_size?: number;
  /** Alternative to train_batch_size: tokens per update, rounded down to whole rows. */
  readonly train_batch_tokens?: number;
  /** Rows per micro-batch. Default: chosen. */
  readonly per_device_train_batch_size?: number;
  /** Micro-batches per update. Default: chosen. */
  readonly gradient_accumulation_steps?: number;

  /** What the process may hold in all, such as `8GiB`. Default: 80 % of what machine and container have free. */
  readonly memory?: string;
  /** Techniques that change the numbers and may be chosen where nothing else fits: names, `none` or `all`. Default: only what the config sets. */
  readonly allow?: readonly string[];
  /** true: of each layer only the input is kept, and backward computes the rest again; false: nothing is. Default: chosen. */
  readonly gradient_checkpointing?: boolean;
  /** Each parameter changes as soon as its gradient is complete. Default: chosen. */
  readonly optimizer_in_backward?: boolean;

  /** Activations and their gradients in bfloat16. Default false. */
  readonly bf16?: boolean;
  /** Activations and their gradients in float16, with a dynamic loss scale. Default false. */
  readonly fp16?: boolean;
  /** Matrices and embeddings in bfloat16 alone, without float32 masters. Default false. */
  readonly bf16_weights?: boolean;
  /** The logits of a slice of tokens at a time. Same bits. Default: chosen. */
  readonly chunked_loss?: boolean;

  /** Name patterns (`*` matches anything) of parameters that are not trained. */
  readonly freeze?: readonly string[];
  /** `adamw`, `adamw_8bit`, `adafactor`, `lion` or `sgd`, on the torch engine also `adamw_4bit`; or transformers' other names. Default adamw. */
  readonly optim?: string;
  readonly adam_beta1?: number;
  readonly adam_beta2?: number;
  readonly adam_epsilon?: number;
  /** Decay of a first moment of `adafactor`; 0: none. Default 0. */
  readonly adafactor_beta1?: number;
  /** `adamw_8bit` for embeddings too, which else keep f32 moments. Default false. */
  readonly optim_8bit_embeddings?: boolean;
  /** Momentum of `sgd`. Default 0.9. */
  readonly sgd_momentum?: number;
  /** Decoupled for AdamW; on tensors of two or more axes only. Default 0. */
  readonly weight_decay?: number;
  /** Default 2e-5. */
  readonly learning_rate?: number;
  /** Default linear. */
  readonly lr_scheduler_type?: LearningRateSchedule;
  /** Steps of linear warm-up. Default 0. */
  readonly warmup_steps?: number;
  /** Or: warm-up as a share of all steps. */
  readonly warmup_ratio?: number;
  /** Gradients are scaled down to this global norm; 0 turns it off. Default 1. */
  readonly max_grad_norm?: number;
  /** Default 3. */
  readonly num_train_epochs?: number;
  /** Stops after so many updates, whatever num_train_epochs says. */
  readonly max_steps?: number;

  /** Default 1. */
  readonly logging_steps?: number;
  /** Evaluate every so many steps. Default: each epoch and at the end. */
  readonly eval_steps?: number;
  /** Keep the checkpoint with the lowest evaluation loss, and finish with its weights. Default false. */
  readonly load_best_model_at_end?: boolean;
  /** Stop after so many evaluations in a row without a lower loss. Default: never. */
  readonly early_stopping_patience?: number;
  /** Write a checkpoint every so many steps. Default: each epoch and at the end. */
  readonly save_steps?: number;
  /** Checkpoints kept, the newest. Default 2. */
  readonly save_total_limit?: number;
  /** Element type of the weights in model/ and in checkpoints' exported form. Default source: the base model's own. */
  readonly save_dtype?: SaveDType;
  /** Default 42. */
  readonly seed?: number;

  /** `embedded`: ours, on the CPU; `torch`: PyTorch, on GPUs or the CPU; `auto`: torch where a GPU and a PyTorch that works are. Default auto. */
  readonly engine?: 'auto' | 'embedded' | 'torch';
  /** Python for the torch engine. Default: FULLTUNE_PYTHON, else python3. */
  readonly python?: string;
  /** Ranks on each node, torch engine. Default: one per GPU, or 1. */
  readonly nproc_per_node?: number;
  /** Nodes, torch engine. Default 1. */
  readonly nnodes?: number;
  /** `host:port` where the ranks of all nodes meet. */
  readonly rdzv_endpoint?: string;
  /** Seconds without a sign of life after which a torch run is ended. Default 600. */
  readonly rank_timeout?: number;
  /** How ranks share the model. Default: none on one rank, fsdp on more. */
  readonly sharding?: 'none' | 'ddp' | 'zero2' | 'fsdp';
  /** Shards live in the memory of the host; with fsdp only. Default false. */
  readonly cpu_offload?: boolean;
  /** Attention of the torch engine. Default sdpa. */
  readonly attn_implementation?: 'sdpa' | 'flex_attention' | 'eager';
  /** torch.compile of each layer. Default false. */
  readonly torch_compile?: boolean;

  /** `cpu`, or `reference` (slow, f64 inside, for comparison). Default cpu. */
  readonly device?: 'cpu' | 'reference';
  /** Compute threads. Default: all cores. Does not change the result. */
  readonly threads?: number;
  /** Large optimizer state lives in a file in the run directory. Does not change the result. Default false. */
  readonly offload_optimizer_state?: boolean;
  /** Kept activations of the first so many layers live in that file. Does not change the result. Default 0. */
  readonly offload_activation_layers?: number;
}

/** A RunConfig with every static default filled in. What stays optional is chosen later, from model, data or plan. */
export interface Settings extends RunConfig {
  readonly eval_fraction: number;
  readonly overlong: Overlong;
  readonly packing: boolean;
  readonly shuffle: boolean;
  readonly train_on_inputs: boolean;
  readonly allow: readonly Allowable[];
  readonly freeze: readonly string[];
  /** Under its one name; left out: adamw, or what `allow` permits in its place. */
  readonly optim?: OptimizerName;
  readonly adafactor_beta1: number;
  readonly optim_8bit_embeddings: boolean;
  readonly adam_beta1: number;
  readonly adam_beta2: number;
  readonly adam_epsilon: number;
  readonly sgd_momentum: number;
  readonly weight_decay: number;
  readonly learning_rate: number;
  readonly lr_scheduler_type: LearningRateSchedule;
  readonly max_grad_norm: number;
  readonly num_train_epochs: number;
  readonly logging_steps: number;
  readonly load_best_model_at_end: boolean;
  readonly save_total_limit: number;
  readonly save_dtype: SaveDType;
  readonly seed: number;
  readonly engine: 'auto' | 'embedded' | 'torch';
  readonly device: 'cpu' | 'reference';
}
