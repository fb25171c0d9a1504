/** What is trained on, and what a model is made of: for `fulltune inspect data` and `inspect model`. */

import { inspectRows, type InspectedRow } from '../data/inspect-rows.ts';
import { prepareData, type DataStatistics } from '../data/prepare.ts';
import { resolveDatasetPath } from '../files/hub-cache.ts';
import { dtypeBytes } from '../graph/dtype.ts';
import { elementCount } from '../graph/shape.ts';
import { longestRow, type ModelConfig } from '../models/model-config.ts';
import { countParameters } from '../models/parameters.ts';
import { parseConfig } from '../run/config-schema.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import { openModelDirectory } from './model-directory.ts';
import { tokenCache } from './token-cache.ts';
import { floatDType } from './weights.ts';

export interface DataInspection {
  readonly statistics: DataStatistics;
  readonly maxLength: number;
  readonly maxLengthReason: string;
  readonly rows: readonly InspectedRow[];
  readonly notices: readonly string[];
}

/** The first `rows` (default 5) documents as the model will see them, trained tokens marked, and counts over all. */
export async function inspectData(config: RunConfig, options: { readonly rows?: number } = {}): Promise<DataInspection> {
  const settings = resolveSettings({ ...parseConfig(config, 'config'), dataset: resolveDatasetPath(config.dataset) });
  const model = openModelDirectory(settings.model);
  const data = await prepareData({
    settings, modelDirectory: model.path, vocabularySize: model.config.vocabularySize, modelMaxLength: longestRow(model.config), workDirectory: tokenCache(),
  });
  const rows = inspectRows(data, { rows: options.rows ?? 5 });
  data.train.close();
  data.evaluation?.close();
  return { statistics: data.statistics, maxLength: data.maxLength, maxLengthReason: data.maxLengthReason, rows, notices: data.notices };
}

export interface ModelInspection {
  readonly path: string;
  readonly config: ModelConfig;
  readonly parameters: number;
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly dtype: string; readonly bytes: number }[];
  readonly notices: readonly string[];
}

/** What the folder holds; weights are not read, only their headers. */
export function inspectModel(path: string): Promise<ModelInspection> {
  const model = openModelDirectory(path);
  return Promise.resolve({
    path: model.path,
    config: model.config,
    parameters: countParameters(model.config),
    tensors: model.parameters.map(({ name, shape, fileDType }) => ({ name, shape, dtype: fileDType, bytes: elementCount(shape) * dtypeBytes(floatDType(fileDType)) })),
    notices: model.config.notices,
  });
}
