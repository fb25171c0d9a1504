/** The JSON files of a model beside its weights, and the element type that each weight is saved in. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readJson, writeJson } from '../files/json.ts';
import type { SaveDType, Settings } from '../run/run-config.ts';
import type { FileParameter } from './model-directory.ts';
import type { RunInputs } from './prepare-inputs.ts';
import { floatDType, type FloatDType } from './weights.ts';

export const DTYPE_NAMES: Readonly<Record<FloatDType, Exclude<SaveDType, 'source'>>> = { f32: 'float32', bf16: 'bfloat16', f16: 'float16' };
const SAVE_DTYPES: Readonly<Record<Exclude<SaveDType, 'source'>, FloatDType>> = { float32: 'f32', bfloat16: 'bf16', float16: 'f16' };

/** Of a parameter in the finished model. */
export function savedDType(parameter: FileParameter, settings: Settings): FloatDType {
  return settings.save_dtype === 'source' ? floatDType(parameter.fileDType) : SAVE_DTYPES[settings.save_dtype];
}

/**
 * config.json says the dtype that the weights beside it have; it stays byte for byte when it does already. generation_config.json learns
 * the end-of-turn token that the training taught, so that generation stops there; a chat template that was chosen goes along.
 */
export function writeModelJson(folder: string, { model, data, settings }: Pick<RunInputs, 'model' | 'data' | 'settings'>, dtypeOf: (parameter: FileParameter) => FloatDType): void {
  const dtypes = new Set(model.parameters.map(dtypeOf));
  const [dtype] = dtypes;
  const key = 'dtype' in model.json ? 'dtype' : 'torch_dtype';
  const configPath = join(folder, 'config.json');
  if (dtypes.size !== 1 || dtype === undefined || model.json[key] === DTYPE_NAMES[dtype]) writeFileSync(configPath, readFileSync(join(model.path, 'config.json')));
  else writeJson(configPath, { ...model.json, [key]: DTYPE_NAMES[dtype] });
  if (settings.chat_template !== undefined && data.chatTemplate !== undefined) writeFileSync(join(folder, 'chat_template.jinja'), data.chatTemplate);
  if (data.endOfTurnIds.length === 0) return;
  const path = join(folder, 'generation_config.json');
  const before = existsSync(path) ? readJson(path) : { bos_token_id: model.config.ids.bos, eos_token_id: model.config.ids.eos };
  const known = [before['eos_token_id'] ?? []].flat().filter((id): id is number => typeof id === 'number');
  const all = [...new Set([...known, ...data.endOfTurnIds])];
  if (all.length > known.length) writeJson(path, { ...before, eos_token_id: all.length === 1 ? all[0] : all });
}
