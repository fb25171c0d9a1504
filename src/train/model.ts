/** A model to use: `loadModel(path)` → `generate` and `evaluate`, with the same graph and kernels as training. */

import { FulltuneError } from '../base/errors.ts';
import { compile } from '../compile/compile.ts';
import { evaluationBatches } from '../data/batches.ts';
import { prepareData } from '../data/prepare.ts';
import { openTokenizer, type ChatMessage, type Tokenizer } from '../data/tokenizer.ts';
import type { Device } from '../devices/device.ts';
import { resolveDatasetPath } from '../files/hub-cache.ts';
import { longestRow, type ModelConfig } from '../models/model-config.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import { plainPlan, type TrainingPlan } from '../run/training-plan.ts';
import { createDevice } from './devices.ts';
import { evaluateBatches, type EvalResult } from './evaluate.ts';
import { Generator } from './generate.ts';
import { generationDefaults } from './generation-config.ts';
import { openModelDirectory, type ModelDirectory } from './model-directory.ts';
import { TrainingState } from './training-state.ts';
import { tokenCache } from './token-cache.ts';
import { readWeights } from './weights.ts';

export interface LoadOptions {
  readonly threads?: number;
  readonly device?: 'cpu' | 'reference';
}

export interface GenerateOptions {
  /** Default 256, less if the model's context is shorter. */
  readonly maxNewTokens?: number;
  /** Default: generation_config.json's if it samples, else 0, which is greedy. */
  readonly temperature?: number;
  /** Default 1. */
  readonly topP?: number;
  /** Default 42. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

export interface EvaluateOptions {
  readonly dataset: string;
  readonly maxLength?: number;
  readonly packing?: boolean;
  readonly trainOnInputs?: boolean;
  readonly chatTemplate?: string;
  /** Rows at a time. Default 4. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
}

export interface ModelEvaluation extends EvalResult {
  readonly documents: number;
  readonly notices: readonly string[];
}

export class Model implements AsyncDisposable {
  readonly config: ModelConfig;
  readonly path: string;
  private readonly directory: ModelDirectory;
  private readonly device: Device;
  private readonly tokenizer: Tokenizer;
  private readonly generator: Generator;

  private constructor(directory: ModelDirectory, device: Device, tokenizer: Tokenizer) {
    this.directory = directory;
    this.config = directory.config;
    this.path = directory.path;
    this.device = device;
    this.tokenizer = tokenizer;
    this.generator = new Generator(directory, device);
  }

  static load(path: string, options: LoadOptions = {}): Model {
    const directory = openModelDirectory(path);
    const device = createDevice({ device: options.device ?? 'cpu', ...(options.threads === undefined ? {} : { threads: options.threads }) });
    return new Model(directory, device, openTokenizer(directory.path));
  }

  /** The answer piece by piece. A list of messages goes through the chat template, a string as it is. */
  async *generate(prompt: string | readonly ChatMessage[], options: GenerateOptions = {}): AsyncGenerator<string, void, void> {
    const ids = typeof prompt === 'string' ? this.tokenizer.encode(prompt, { addSpecialTokens: true }) : this.tokenizer.encodeChat(prompt);
    const longest = longestRow(this.config);
    const room = longest - ids.length;
    if (room <= 0) {
      throw new FulltuneError('E_DATA', `the prompt has ${ids.length} tokens; the model takes ${longest}, prompt and answer together`, { remedy: 'Shorten the prompt.' });
    }
    const defaults = generationDefaults(this.path, this.config);
    const tokens = this.generator.tokens(ids, {
      maxNewTokens: Math.min(options.maxNewTokens ?? 256, room),
      temperature: options.temperature ?? defaults.temperature,
      topP: options.topP ?? defaults.topP,
      seed: options.seed ?? 42,
      stopIds: [...defaults.stopIds, ...(typeof prompt === 'string' ? [] : this.tokenizer.endOfTurnIds)],
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const decoder = this.tokenizer.decodeStream();
    decoder.push(ids.at(-1)!); // the answer continues the prompt: its first word keeps the space before it
    for await (const id of tokens) {
      const text = decoder.push(id);
      if (text !== '') yield text;
    }
    const rest = decoder.end();
    if (rest !== '') yield rest;
  }

  /** Mean loss per trained token of a dataset, under the rules that training uses. */
  async evaluate(options: EvaluateOptions): Promise<ModelEvaluation> {
    const settings = resolveSettings({
      model: this.path,
      dataset: resolveDatasetPath(options.dataset),
      shuffle: false,
      ...(options.maxLength === undefined ? {} : { max_length: options.maxLength }),
      ...(options.packing === undefined ? {} : { packing: options.packing }),
      ...(options.trainOnInputs === undefined ? {} : { train_on_inputs: options.trainOnInputs }),
      ...(options.chatTemplate === undefined ? {} : { chat_template: options.chatTemplate }),
    });
    const signal = options.signal ?? new AbortController().signal;
    const data = await prepareData({
      settings, modelDirectory: this.path, vocabularySize: this.config.vocabularySize, modelMaxLength: longestRow(this.config), workDirectory: tokenCache(), signal,
    });
    const rowLengths = settings.packing ? [data.maxLength] : data.bucketLengths;
    const microBatchSize = Math.min(options.batchSize ?? 4, data.train.documents);
    const plan: TrainingPlan = {
      ...plainPlan({ rowLength: data.maxLength }),
      packing: { packed: settings.packing, rowLengths },
      batch: { rowsPerUpdate: microBatchSize, microBatchSize, accumulationSteps: 1 },
    };
    const compiled = compile({ model: this.config, plan, device: this.device, purpose: 'evaluate' });
    const state = await TrainingState.create(this.device, compiled.memory, compiled.constants);
    try {
      await readWeights(state, this.path, this.directory.parameters);
      const result = await evaluateBatches(state, compiled.evaluate, evaluationBatches(data.train, { packed: settings.packing, rowLengths, microBatchSize }), signal);
      if (result === undefined) throw new FulltuneError('E_RUN', 'the evaluation was stopped before it was done');
      return { ...result, documents: data.statistics.documents, notices: data.notices };
    } finally {
      state.free();
      data.train.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.generator.free();
  }
}
