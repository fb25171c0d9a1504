/**
 * Text from a model: prompt in chunks through `prefill`, then token by token through `decode`, over a key/value cache of fixed capacity.
 * The capacity grows in powers of two with what is asked for, so that few programs are ever compiled.
 */

import { RandomStream } from '../base/random.ts';
import { FulltuneError } from '../base/errors.ts';
import { compileGenerator, type CompiledGenerator } from '../compile/compile-generator.ts';
import type { Device } from '../devices/device.ts';
import type { Program } from '../devices/program.ts';
import { checkLength, longestRow } from '../models/model-config.ts';
import type { ModelDirectory } from './model-directory.ts';
import { sampleToken, type SamplingOptions } from './sampler.ts';
import { TrainingState } from './training-state.ts';
import { readWeights } from './weights.ts';

const SMALLEST_CAPACITY = 256;
const CHUNK = 32;

export interface TokenOptions extends SamplingOptions {
  readonly maxNewTokens: number;
  readonly seed: number;
  /** Tokens that end the answer; they are not yielded. */
  readonly stopIds: readonly number[];
  readonly signal?: AbortSignal;
}

export class Generator {
  private readonly model: ModelDirectory;
  private readonly device: Device;
  private loaded: { readonly capacity: number; readonly compiled: CompiledGenerator; readonly state: TrainingState } | undefined;
  private busy = false;

  constructor(model: ModelDirectory, device: Device) {
    this.model = model;
    this.device = device;
  }

  /** Yields token ids until a stop token or `maxNewTokens`. One call at a time. */
  async *tokens(prompt: readonly number[], options: TokenOptions): AsyncGenerator<number, void, void> {
    if (prompt.length === 0) throw new FulltuneError('E_DATA', 'the prompt has no tokens', { remedy: 'Give at least one word; this tokenizer adds no beginning-of-text token.' });
    if (this.busy) throw new FulltuneError('E_CONFIG', 'this model is already generating', { remedy: 'Wait for the first answer to end, or load the model twice.' });
    this.busy = true;
    try {
      const total = prompt.length + options.maxNewTokens;
      checkLength(this.model.config, total);
      const { compiled, state, capacity } = await this.load(total);
      const random = new RandomStream(options.seed, 0);
      let logits = await this.prefill(state, compiled.prefill, prompt, options.signal);
      for (let count = 0, length = prompt.length; logits !== undefined && count < options.maxNewTokens; count++) {
        const id = sampleToken(logits, options, random);
        if (options.stopIds.includes(id)) return;
        yield id;
        if (length >= capacity || count + 1 === options.maxNewTokens) return;
        logits = await this.run(state, compiled.decode, Int32Array.of(id), { cacheLength: length, lastIndex: 0 }, options.signal);
        length++;
      }
    } finally {
      this.busy = false;
    }
  }

  /** Fills the cache with the prompt; logits after its last token, undefined when stopped. */
  private async prefill(state: TrainingState, program: Program, prompt: readonly number[], signal: AbortSignal | undefined): Promise<Float64Array | undefined> {
    let logits: Float64Array | undefined;
    for (let first = 0; first < prompt.length; first += CHUNK) {
      const part = prompt.slice(first, first + CHUNK);
      const ids = new Int32Array(CHUNK); // what lies beyond the prompt is overwritten by the first answer tokens before anybody looks at it
      ids.set(part);
      logits = await this.run(state, program, ids, { cacheLength: first, lastIndex: part.length - 1 }, signal);
      if (logits === undefined) return undefined;
    }
    return logits;
  }

  private async run(state: TrainingState, program: Program, ids: Int32Array, at: { readonly cacheLength: number; readonly lastIndex: number }, signal: AbortSignal | undefined): Promise<Float64Array | undefined> {
    const positions = ids.map((_, index) => Math.min(at.cacheLength + index, this.model.config.maxPositions - 1));
    state.setInputs(program, { ids, positions, ...at });
    const { completed } = await state.program(program).run(signal === undefined ? {} : { signal });
    return completed ? state.output(program, 'logits') : undefined;
  }

  private async load(tokens: number): Promise<NonNullable<Generator['loaded']>> {
    if (this.loaded !== undefined && this.loaded.capacity >= tokens) return this.loaded;
    this.free();
    let capacity = SMALLEST_CAPACITY;
    while (capacity < tokens) capacity *= 2;
    capacity = Math.min(capacity, longestRow(this.model.config));
    const compiled = compileGenerator({ model: this.model.config, device: this.device, capacity, chunk: CHUNK });
    const state = await TrainingState.create(this.device, compiled.memory, compiled.constants);
    await readWeights(state, this.model.path, this.model.parameters);
    this.loaded = { capacity, compiled, state };
    return this.loaded;
  }

  free(): void {
    this.loaded?.state.free();
    this.loaded = undefined;
  }
}
