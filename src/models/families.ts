/** The model families that are built here, and what their classes in transformers take for keys that config.json leaves out. */

/** Llama and its kin, by model_type. */
export type LlamaType = 'llama' | 'mistral' | 'qwen2' | 'qwen3';

/** The causal language models that are built here: architecture → model type. */
export const ARCHITECTURES: ReadonlyMap<string, LlamaType | 'gpt2'> = new Map([
  ['LlamaForCausalLM', 'llama'],
  ['MistralForCausalLM', 'mistral'],
  ['Qwen2ForCausalLM', 'qwen2'],
  ['Qwen3ForCausalLM', 'qwen3'],
  ['GPT2LMHeadModel', 'gpt2'],
]);

interface FamilyDefaults {
  readonly vocabularySize: number;
  readonly feedForwardWidth: number;
  /** When the key is absent; null in the file always means one per query head. */
  readonly keyValueHeads: number | undefined;
  readonly headWidth: number | undefined;
  readonly maxPositions: number;
  readonly bos: number | undefined;
  readonly eos: number | undefined;
}

/** Defaults of LlamaConfig, MistralConfig, Qwen2Config and Qwen3Config (transformers 5.23) where they differ from one another. */
export const FAMILY_DEFAULTS: Readonly<Record<LlamaType, FamilyDefaults>> = {
  llama: {
    vocabularySize: 32000, feedForwardWidth: 11008, keyValueHeads: undefined,
    headWidth: undefined, maxPositions: 2048, bos: 1, eos: 2,
  },
  mistral: {
    vocabularySize: 32000, feedForwardWidth: 14336, keyValueHeads: 8,
    headWidth: undefined, maxPositions: 131072, bos: 1, eos: 2,
  },
  qwen2: {
    vocabularySize: 151936, feedForwardWidth: 22016, keyValueHeads: 32,
    headWidth: undefined, maxPositions: 32768, bos: undefined, eos: undefined,
  },
  qwen3: {
    vocabularySize: 151936, feedForwardWidth: 22016, keyValueHeads: 32,
    headWidth: 128, maxPositions: 32768, bos: undefined, eos: undefined,
  },
};
