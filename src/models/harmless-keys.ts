/** Keys of config.json that do not change what a causal language model computes in training, each with the reason why it may be passed over. */

const REASONS: readonly { readonly why: string; readonly keys: string }[] = [
  {
    why: 'says where the file came from',
    keys: 'transformers_version _name_or_path name_or_path _commit_hash transformers.js_config unsloth_version unsloth_fixed is_llama_config',
  },
  {
    why: 'chooses what a forward call returns or keeps in PyTorch, not what it computes',
    keys: 'use_cache return_dict output_attentions output_hidden_states tie_last_hidden_states torchscript gradient_checkpointing '
      + 'chunk_size_feed_forward keys_to_ignore_at_inference cross_attention_hidden_size',
  },
  {
    why: 'chooses between kernels or cuts of one and the same product',
    keys: 'attn_implementation _attn_implementation _attn_implementation_autoset _attn_implementation_internal _flash_attn_2_enabled '
      + 'pretraining_tp tf_legacy_loss use_bfloat16 reorder_and_upcast_attn',
  },
  {
    why: 'names the tokenizer, which has files of its own',
    keys: 'tokenizer_class sep_token_id decoder_start_token_id prefix',
  },
  {
    why: 'belongs to a classification head, which a causal language model has not',
    keys: 'id2label label2id num_labels problem_type finetuning_task task_specific_params '
      + 'summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout classifier_dropout',
  },
  {
    why: 'a setting of generation, from before generation_config.json',
    keys: 'max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p '
      + 'repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size encoder_repetition_penalty bad_words_ids '
      + 'num_return_sequences output_scores return_dict_in_generate forced_bos_token_id forced_eos_token_id remove_invalid_values '
      + 'exponential_decay_length_penalty suppress_tokens begin_suppress_tokens epsilon_cutoff eta_cutoff num_assistant_tokens '
      + 'num_assistant_tokens_schedule assistant_confidence_threshold assistant_lookbehind target_lookbehind',
  },
  {
    why: 'repeats n_positions in old GPT-2 files and is read by nobody',
    keys: 'n_ctx',
  },
];

/** Why each key may be passed over. */
export const HARMLESS_KEYS: ReadonlyMap<string, string> = new Map(
  REASONS.flatMap(({ why, keys }) => keys.split(/\s+/).map((key) => [key, why] as const)),
);
