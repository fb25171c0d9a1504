/**
 * Public models by their Hub id: sizes enough to plan with, without a folder and without weights. `published` is the number of parameters that
 * the model's card or headers give; a text is a name that was rounded by its makers (`7B`), and null says that the source gives none. `counted`
 * is the source's own count. The test of this file counts every row again from its shape.
 */

import { FulltuneError, nearest } from '../base/errors.ts';
import { ARCHITECTURE_FEATURES, type Architecture, type ModelShape } from './model-shape.ts';

type Row = readonly [
  id: string, architecture: Architecture, width: number, layers: number, heads: number, keyValueHeads: number, headWidth: number, feedForwardWidth: number,
  vocabularySize: number, maxPositions: number, tiedHead: boolean, published: number | string | null, counted: number, source: string,
];

const TIED = true;
const UNTIED = false;
const LITGPT = 'the config.json of the id, as in Lightning-AI/litgpt litgpt/config.py @2685705';
const LLM_ANALYSIS = 'the config.json of the id, as in cli99/llm-analysis model_configs @d841e40';

const ROWS: readonly Row[] = [
  ['EleutherAI/pythia-70m', 'GPTNeoXForCausalLM', 512, 6, 8, 8, 64, 2048, 50304, 2048, UNTIED, 70_426_624, 70_426_624, LITGPT],
  ['EleutherAI/pythia-160m', 'GPTNeoXForCausalLM', 768, 12, 12, 12, 64, 3072, 50304, 2048, UNTIED, 162_322_944, 162_322_944, LITGPT],
  ['EleutherAI/pythia-410m', 'GPTNeoXForCausalLM', 1024, 24, 16, 16, 64, 4096, 50304, 2048, UNTIED, 405_334_016, 405_334_016, LITGPT],
  ['EleutherAI/pythia-1b', 'GPTNeoXForCausalLM', 2048, 16, 8, 8, 256, 8192, 50304, 2048, UNTIED, 1_011_781_632, 1_011_781_632, LITGPT],
  ['EleutherAI/pythia-1.4b', 'GPTNeoXForCausalLM', 2048, 24, 16, 16, 128, 8192, 50304, 2048, UNTIED, 1_414_647_808, 1_414_647_808, LITGPT],
  ['EleutherAI/pythia-2.8b', 'GPTNeoXForCausalLM', 2560, 32, 32, 32, 80, 10240, 50304, 2048, UNTIED, 2_775_208_960, 2_775_208_960, LITGPT],
  ['EleutherAI/pythia-6.9b', 'GPTNeoXForCausalLM', 4096, 32, 32, 32, 128, 16384, 50432, 2048, UNTIED, 6_857_302_016, 6_857_302_016, LITGPT],
  ['EleutherAI/pythia-12b', 'GPTNeoXForCausalLM', 5120, 36, 40, 40, 128, 20480, 50688, 2048, UNTIED, 11_846_072_320, 11_846_072_320, LITGPT],
  ['meta-llama/Llama-2-7b-hf', 'LlamaForCausalLM', 4096, 32, 32, 32, 128, 11008, 32000, 4096, UNTIED, 6_738_415_616, 6_738_415_616, LITGPT],
  ['meta-llama/Llama-2-13b-hf', 'LlamaForCausalLM', 5120, 40, 40, 40, 128, 13824, 32000, 4096, UNTIED, 13_015_864_320, 13_015_864_320, LITGPT],
  ['meta-llama/Llama-2-70b-hf', 'LlamaForCausalLM', 8192, 80, 64, 8, 128, 28672, 32000, 4096, UNTIED, 68_976_648_192, 68_976_648_192, LITGPT],
  ['meta-llama/Llama-3.1-8B', 'LlamaForCausalLM', 4096, 32, 32, 8, 128, 14336, 128256, 131072, UNTIED, 8_030_261_248, 8_030_261_248, LITGPT],
  ['meta-llama/Llama-3.1-70B', 'LlamaForCausalLM', 8192, 80, 64, 8, 128, 28672, 128256, 131072, UNTIED, 70_553_706_496, 70_553_706_496, LITGPT],
  ['meta-llama/Llama-3.2-1B', 'LlamaForCausalLM', 2048, 16, 32, 8, 64, 8192, 128256, 131072, TIED, 1_235_814_400, 1_235_814_400, LITGPT],
  ['meta-llama/Llama-3.2-3B', 'LlamaForCausalLM', 3072, 28, 24, 8, 128, 8192, 128256, 131072, TIED, 3_212_749_824, 3_212_749_824, LITGPT],
  ['allenai/OLMo-2-1124-7B', 'Olmo2ForCausalLM', 4096, 32, 32, 32, 128, 11008, 100352, 4096, UNTIED, '7B', 7_298_617_344, LITGPT],
  ['allenai/OLMo-2-1124-13B', 'Olmo2ForCausalLM', 5120, 40, 40, 40, 128, 13824, 100352, 4096, UNTIED, '13B', 13_716_198_400, LITGPT],
  ['google/gemma-2-2b', 'Gemma2ForCausalLM', 2304, 26, 8, 4, 256, 9216, 256000, 8192, TIED, 2_614_341_888, 2_614_341_888, LITGPT],
  ['google/gemma-2-9b', 'Gemma2ForCausalLM', 3584, 42, 16, 8, 256, 14336, 256000, 8192, TIED, 9_241_705_984, 9_241_705_984, LITGPT],
  ['microsoft/Phi-3-mini-4k-instruct', 'Phi3ForCausalLM', 3072, 32, 32, 32, 96, 8192, 32064, 4096, UNTIED, 3_821_079_552, 3_821_079_552, LITGPT],
  ['mistralai/Mistral-7B-v0.1', 'MistralForCausalLM', 4096, 32, 32, 8, 128, 14336, 32000, 32768, UNTIED, 7_241_732_096, 7_241_732_096, LITGPT],
  ['mistralai/Mixtral-8x7B-v0.1', 'MixtralForCausalLM', 4096, 32, 32, 8, 128, 14336, 32000, 32768, UNTIED, 46_702_792_704, 46_702_792_704, LITGPT],
  ['mistralai/Mistral-7B-v0.3', 'MistralForCausalLM', 4096, 32, 32, 8, 128, 14336, 32768, 32768, UNTIED, null, 7_248_023_552, LITGPT],
  ['TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T', 'LlamaForCausalLM', 2048, 22, 32, 4, 64, 5632, 32000, 2048, UNTIED, 1_100_048_384, 1_100_048_384, LITGPT],
  ['Qwen/Qwen2.5-0.5B', 'Qwen2ForCausalLM', 896, 24, 14, 2, 64, 4864, 151936, 32768, TIED, 494_032_768, 494_032_768, LITGPT],
  ['Qwen/Qwen2.5-1.5B', 'Qwen2ForCausalLM', 1536, 28, 12, 2, 128, 8960, 151936, 131072, TIED, 1_543_714_304, 1_543_714_304, LITGPT],
  ['Qwen/Qwen2.5-3B', 'Qwen2ForCausalLM', 2048, 36, 16, 2, 128, 11008, 151936, 32768, TIED, 3_085_938_688, 3_085_938_688, LITGPT],
  ['Qwen/Qwen2.5-7B', 'Qwen2ForCausalLM', 3584, 28, 28, 4, 128, 18944, 152064, 131072, UNTIED, 7_615_616_512, 7_615_616_512, LITGPT],
  ['Qwen/Qwen2.5-14B', 'Qwen2ForCausalLM', 5120, 48, 40, 8, 128, 13824, 152064, 131072, UNTIED, 14_770_033_664, 14_770_033_664, LITGPT],
  ['Qwen/Qwen2.5-32B', 'Qwen2ForCausalLM', 5120, 64, 40, 8, 128, 27648, 152064, 131072, UNTIED, 32_763_876_352, 32_763_876_352, LITGPT],
  ['Qwen/Qwen2.5-72B', 'Qwen2ForCausalLM', 8192, 80, 64, 8, 128, 29568, 152064, 131072, UNTIED, 72_706_203_648, 72_706_203_648, LITGPT],
  ['Qwen/Qwen3-0.6B', 'Qwen3ForCausalLM', 1024, 28, 16, 8, 128, 3072, 151936, 40960, TIED, '0.6B', 596_049_920, LITGPT],
  ['Qwen/Qwen3-1.7B', 'Qwen3ForCausalLM', 2048, 28, 16, 8, 128, 6144, 151936, 40960, TIED, '1.7B', 1_720_574_976, LITGPT],
  ['Qwen/Qwen3-4B', 'Qwen3ForCausalLM', 2560, 36, 32, 8, 128, 9728, 151936, 40960, TIED, '4B', 4_022_468_096, LITGPT],
  ['Qwen/Qwen3-8B', 'Qwen3ForCausalLM', 4096, 36, 32, 8, 128, 12288, 151936, 40960, UNTIED, 8_190_735_360, 8_190_735_360, LITGPT],
  ['Qwen/Qwen3-14B', 'Qwen3ForCausalLM', 5120, 40, 40, 8, 128, 17408, 151936, 40960, UNTIED, '14B', 14_768_307_200, LITGPT],
  ['Qwen/Qwen3-32B', 'Qwen3ForCausalLM', 5120, 64, 64, 8, 128, 25600, 151936, 40960, UNTIED, '32B', 32_762_123_264, LITGPT],
  ['HuggingFaceTB/SmolLM2-135M', 'LlamaForCausalLM', 576, 30, 9, 3, 64, 1536, 49152, 8192, TIED, 134_515_008, 134_515_008, LITGPT],
  ['HuggingFaceTB/SmolLM2-360M', 'LlamaForCausalLM', 960, 32, 15, 5, 64, 2560, 49152, 8192, TIED, 361_821_120, 361_821_120, LITGPT],
  ['HuggingFaceTB/SmolLM2-1.7B', 'LlamaForCausalLM', 2048, 24, 32, 32, 64, 8192, 49152, 8192, TIED, 1_711_376_384, 1_711_376_384, LITGPT],
  ['openai-community/gpt2', 'GPT2LMHeadModel', 768, 12, 12, 12, 64, 3072, 50257, 1024, TIED, 124_439_808, 124_439_808, LLM_ANALYSIS],
  ['openai-community/gpt2-medium', 'GPT2LMHeadModel', 1024, 24, 16, 16, 64, 4096, 50257, 1024, TIED, 354_823_168, 354_823_168, LLM_ANALYSIS],
  ['openai-community/gpt2-large', 'GPT2LMHeadModel', 1280, 36, 20, 20, 64, 5120, 50257, 1024, TIED, 774_030_080, 774_030_080, LLM_ANALYSIS],
  ['openai-community/gpt2-xl', 'GPT2LMHeadModel', 1600, 48, 25, 25, 64, 6400, 50257, 1024, TIED, 1_557_611_200, 1_557_611_200, LLM_ANALYSIS],
  ['facebook/opt-125m', 'OPTForCausalLM', 768, 12, 12, 12, 64, 3072, 50272, 2048, TIED, 125_239_296, 125_239_296, LLM_ANALYSIS],
  ['facebook/opt-1.3b', 'OPTForCausalLM', 2048, 24, 32, 32, 64, 8192, 50272, 2048, TIED, 1_315_758_080, 1_315_758_080, LLM_ANALYSIS],
];

export interface PublicModel {
  readonly id: string;
  readonly architecture: Architecture;
  readonly shape: ModelShape;
  readonly published: number | string | null;
  readonly counted: number;
  readonly source: string;
}

export const PUBLIC_MODELS: readonly PublicModel[] = ROWS.map(
  ([id, architecture, width, layers, heads, keyValueHeads, headWidth, feedForwardWidth, vocabularySize, maxPositions, tiedHead, published, counted, source]) => ({
    id, architecture, published, counted, source,
    shape: {
      name: shortName(id), width, layers, heads, keyValueHeads, headWidth, feedForwardWidth, vocabularySize, maxPositions, tiedHead,
      learnedPositions: architecture === 'GPT2LMHeadModel' ? maxPositions : architecture === 'OPTForCausalLM' ? maxPositions + 2 : 0,
      experts: architecture === 'MixtralForCausalLM' ? 8 : 1,
      activeExperts: architecture === 'MixtralForCausalLM' ? 2 : 1,
      features: ARCHITECTURE_FEATURES[architecture],
      otherParameters: 0,
    },
  }),
);

/** The model that `text` names: an id, or its last part, in any case, also of a variant of the same shape (`…-Instruct`). Undefined when there is none. */
export function findPublicModel(text: string): PublicModel | undefined {
  const wanted = plain(text);
  const named = (name: string): PublicModel | undefined => PUBLIC_MODELS.find(({ id }) => [plain(id), plain(shortName(id))].includes(name));
  return named(wanted) ?? PUBLIC_MODELS.find(({ id }) => withoutVariant(plain(shortName(id))) === withoutVariant(wanted.replace(/^.*\//, '')));
}

/** What to say of a model that is neither a folder nor in the table. */
export function unknownModel(text: string, cause?: unknown): FulltuneError {
  const names = PUBLIC_MODELS.flatMap(({ id }) => [id, shortName(id)]);
  const near = nearest(text, names);
  return new FulltuneError('E_MODEL', `'${text}' is no model folder and not in the table of public models`, {
    where: '--model', ...(cause === undefined ? {} : { cause }),
    remedy: `${near === undefined ? '' : `Did you mean ${near}? `}Give a folder with a config.json, or one of ${PUBLIC_MODELS.map(({ id }) => shortName(id)).join(', ')}.`,
  });
}

function shortName(id: string): string {
  return id.slice(id.indexOf('/') + 1);
}

function plain(text: string): string {
  return text.toLowerCase().replace(/@.*$/, '').replace(/meta-llama-/, 'llama-');
}

function withoutVariant(name: string): string {
  return name.replace(/-(instruct|chat|hf|chat-hf|it|base|deduped)$/, '').replace(/-v1\.0$/, '').replace(/-intermediate-step.*$/, '');
}
