/** Every trainable tensor of a model under its Hugging Face name, with its shape and how it is drawn when it is new. A tied head is absent. */

import type { GraphBuilder } from '../graph/builder.ts';
import type { ValueId } from '../graph/graph.ts';
import { elementCount, type Shape } from '../graph/shape.ts';
import type { Gpt2Config, LlamaConfig, ModelConfig } from './model-config.ts';

export type ParameterKind = 'embedding' | 'matrix' | 'bias' | 'norm';

export type Init =
  | { readonly kind: 'normal'; readonly standardDeviation: number }
  | { readonly kind: 'zeros' }
  | { readonly kind: 'ones' };

export interface Parameter {
  readonly name: string;
  readonly shape: Shape;
  readonly kind: ParameterKind;
  readonly init: Init;
}

/** In the order in which the forward pass first uses them. */
export function parameterList(config: ModelConfig): readonly Parameter[] {
  switch (config.kind) {
    case 'llama':
      return llamaParameters(config);
    case 'gpt2':
      return gpt2Parameters(config);
    default:
      return config satisfies never;
  }
}

/** P, the number of trained elements; a tied head counts once. */
export function countParameters(config: ModelConfig): number {
  return parameterList(config).reduce((sum, parameter) => sum + elementCount(parameter.shape), 0);
}

/** How a model's forward pass names its weights: declares the f32 parameter of that name, with its shape from `parameterList`. */
export function weightSource(builder: GraphBuilder, config: ModelConfig): (name: string) => ValueId {
  const shapes = new Map(parameterList(config).map(({ name, shape }) => [name, shape]));
  return (name) => {
    const shape = shapes.get(name);
    if (shape === undefined) throw new RangeError(`this model has no parameter '${name}'`);
    return builder.parameter(name, 'f32', ...shape);
  };
}

interface Kinds {
  embedding(name: string, rows: number, width: number): Parameter;
  matrix(name: string, rows: number, columns: number, standardDeviation?: number): Parameter;
  bias(name: string, width: number): Parameter;
  norm(name: string, width: number): Parameter;
}

function kinds(initializerRange: number): Kinds {
  const normal = (standardDeviation: number): Init => ({ kind: 'normal', standardDeviation });
  return {
    embedding: (name, rows, width) => ({ name, shape: [rows, width], kind: 'embedding', init: normal(initializerRange) }),
    matrix: (name, rows, columns, standardDeviation = initializerRange) =>
      ({ name, shape: [rows, columns], kind: 'matrix', init: normal(standardDeviation) }),
    bias: (name, width) => ({ name, shape: [width], kind: 'bias', init: { kind: 'zeros' } }),
    norm: (name, width) => ({ name, shape: [width], kind: 'norm', init: { kind: 'ones' } }),
  };
}

/** Matrices are [out, in], as torch.nn.Linear stores them. */
function llamaParameters(config: LlamaConfig): readonly Parameter[] {
  const { width: D, feedForwardWidth: F, vocabularySize: V } = config;
  const queryWidth = config.heads * config.headWidth;
  const keyValueWidth = config.keyValueHeads * config.headWidth;
  const { embedding, matrix, bias, norm } = kinds(config.initializerRange);
  const linear = (name: string, out: number, inner: number, biased: boolean): Parameter[] =>
    [matrix(`${name}.weight`, out, inner), ...(biased ? [bias(`${name}.bias`, out)] : [])];

  const block = (layer: number): Parameter[] => {
    const path = `model.layers.${layer}`;
    return [
      norm(`${path}.input_layernorm.weight`, D),
      ...linear(`${path}.self_attn.q_proj`, queryWidth, D, config.qkvBias),
      ...linear(`${path}.self_attn.k_proj`, keyValueWidth, D, config.qkvBias),
      ...linear(`${path}.self_attn.v_proj`, keyValueWidth, D, config.qkvBias),
      ...(config.qkNorm ? ['q_norm', 'k_norm'].map((part) => norm(`${path}.self_attn.${part}.weight`, config.headWidth)) : []),
      ...linear(`${path}.self_attn.o_proj`, D, queryWidth, config.outputBias),
      norm(`${path}.post_attention_layernorm.weight`, D),
      ...linear(`${path}.mlp.gate_proj`, F, D, config.mlpBias),
      ...linear(`${path}.mlp.up_proj`, F, D, config.mlpBias),
      ...linear(`${path}.mlp.down_proj`, D, F, config.mlpBias),
    ];
  };
  return [
    embedding('model.embed_tokens.weight', V, D),
    ...Array.from({ length: config.layers }, (_, layer) => block(layer)).flat(),
    norm('model.norm.weight', D),
    ...(config.tiedHead ? [] : [matrix('lm_head.weight', V, D)]),
  ];
}

/** Matrices are [in, out], as GPT-2's Conv1D stores them; the head alone is [out, in]. */
function gpt2Parameters(config: Gpt2Config): readonly Parameter[] {
  const { width: D, feedForwardWidth: F, vocabularySize: V } = config;
  const { embedding, matrix, bias, norm } = kinds(config.initializerRange);
  // The last product of each residual branch starts smaller, by √(number of branches) (Radford et al. 2019).
  const residualDeviation = config.initializerRange / Math.sqrt(2 * config.layers);
  const layerNorm = (name: string): Parameter[] => [norm(`${name}.weight`, D), bias(`${name}.bias`, D)];
  const conv1d = (name: string, inner: number, out: number, standardDeviation?: number): Parameter[] =>
    [matrix(`${name}.weight`, inner, out, standardDeviation), bias(`${name}.bias`, out)];

  const block = (layer: number): Parameter[] => {
    const path = `transformer.h.${layer}`;
    return [
      ...layerNorm(`${path}.ln_1`),
      ...conv1d(`${path}.attn.c_attn`, D, 3 * D),
      ...conv1d(`${path}.attn.c_proj`, D, D, residualDeviation),
      ...layerNorm(`${path}.ln_2`),
      ...conv1d(`${path}.mlp.c_fc`, D, F),
      ...conv1d(`${path}.mlp.c_proj`, F, D, residualDeviation),
    ];
  };
  return [
    embedding('transformer.wte.weight', V, D),
    embedding('transformer.wpe.weight', config.maxPositions, D),
    ...Array.from({ length: config.layers }, (_, layer) => block(layer)).flat(),
    ...layerNorm('transformer.ln_f'),
    ...(config.tiedHead ? [] : [matrix('lm_head.weight', V, D)]),
  ];
}
