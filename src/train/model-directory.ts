/** A model folder, opened and checked: config.json understood, every weight found with its shape, nothing read yet. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FulltuneError } from '../base/errors.ts';
import { resolveModelPath } from '../files/hub-cache.ts';
import type { SafetensorsDType } from '../files/safetensors.ts';
import { INDEX_FILE, SINGLE_FILE, WeightFiles } from '../files/weight-files.ts';
import { matchWeights } from '../models/match-weights.ts';
import { parseModelConfig, type ModelConfig } from '../models/model-config.ts';
import { parameterList, type Parameter } from '../models/parameters.ts';

/** A parameter and where its values lie in the folder's weight files. */
export interface FileParameter extends Parameter {
  readonly fileName: string;
  readonly fileDType: SafetensorsDType;
}

export interface ModelDirectory {
  readonly path: string;
  readonly name: string;
  readonly config: ModelConfig;
  /** config.json as it is. */
  readonly json: Readonly<Record<string, unknown>>;
  readonly parameters: readonly FileParameter[];
}

/** What a folder with a config.json and no weights says of a model: enough to plan for it, not to train it. */
export function describeModel(idOrPath: string): ModelDirectory {
  const path = resolveModelPath(idOrPath);
  if (hasWeights(path)) return openModelDirectory(path);
  const { json, config } = readModelConfig(path);
  const parameters = parameterList(config).map((parameter): FileParameter => ({ ...parameter, fileName: parameter.name, fileDType: 'F32' }));
  return { path, name: modelName(idOrPath), config, json, parameters };
}

function hasWeights(path: string): boolean {
  return existsSync(join(path, SINGLE_FILE)) || existsSync(join(path, INDEX_FILE));
}

/** Opens a folder, or a model id of the local Hugging Face cache. Throws E_HUB, E_MODEL or E_FILE. */
export function openModelDirectory(idOrPath: string): ModelDirectory {
  const path = resolveModelPath(idOrPath);
  const { json, config } = readModelConfig(path);
  const weights = WeightFiles.open(path);
  try {
    const fileNames = matchWeights(config, weights.tensors, path);
    const parameters = parameterList(config).map((parameter): FileParameter => {
      const fileName = fileNames.get(parameter.name)!;
      return { ...parameter, fileName, fileDType: weights.tensors.get(fileName)!.dtype };
    });
    return { path, name: modelName(idOrPath), config, json, parameters };
  } finally {
    weights.close();
  }
}

/** config.json of a folder, parsed and understood. */
export function readModelConfig(folder: string): { readonly json: Readonly<Record<string, unknown>>; readonly config: ModelConfig } {
  const where = join(folder, 'config.json');
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(where, 'utf8'));
  } catch (error) {
    const missing = !existsSync(where);
    throw new FulltuneError('E_MODEL', missing ? `there is no config.json in '${folder}'` : `config.json cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      where, cause: error, remedy: missing ? 'Give a model folder in Hugging Face format.' : 'Download or copy the model again, whole.',
    });
  }
  const config = parseModelConfig(json, where);
  return { json: json as Readonly<Record<string, unknown>>, config };
}

/** The folder's name; the run's where the folder is the `model/` or a checkpoint of one. */
export function modelName(idOrPath: string): string {
  const parts = idOrPath.split(/[\\/]+/).filter((part) => part !== '' && part !== '.');
  const last = parts.at(-1) ?? idOrPath;
  return /^(model|checkpoint-\d+)$/.test(last) ? (parts.at(-2) ?? last) : last;
}
