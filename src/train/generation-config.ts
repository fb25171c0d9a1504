/** generation_config.json: what ends an answer, and how tokens are drawn when nobody says. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readJson } from '../files/json.ts';
import type { ModelConfig } from '../models/model-config.ts';
import type { SamplingOptions } from './sampler.ts';

export interface GenerationDefaults extends SamplingOptions {
  readonly stopIds: readonly number[];
}

/** As transformers reads it: without `do_sample` generation is greedy, whatever temperature the file has. */
export function generationDefaults(modelPath: string, config: ModelConfig): GenerationDefaults {
  const path = join(modelPath, 'generation_config.json');
  const json = existsSync(path) ? readJson(path) : {};
  const ids = [json['eos_token_id'] ?? []].flat().filter((id): id is number => typeof id === 'number');
  const number = (key: string, otherwise: number): number => (typeof json[key] === 'number' ? json[key] : otherwise);
  return {
    stopIds: ids.length > 0 ? ids : config.ids.eos,
    temperature: json['do_sample'] === true ? number('temperature', 1) : 0,
    topP: json['do_sample'] === true ? number('top_p', 1) : 1,
  };
}
