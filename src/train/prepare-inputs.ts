/** Settings, model and data of a run, whatever engine will train it. A mistake in any of them ends here, with nothing changed. */

import { basename } from 'node:path';
import { FulltuneError, nearest } from '../base/errors.ts';
import { prepareData, type PreparedData } from '../data/prepare.ts';
import { resolveDatasetPath } from '../files/hub-cache.ts';
import { checkLength, longestRow } from '../models/model-config.ts';
import { parseConfig } from '../run/config-schema.ts';
import type { ProgressEvent } from '../run/events.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig, Settings } from '../run/run-config.ts';
import { describeModel, openModelDirectory, type ModelDirectory } from './model-directory.ts';
import { tokenCache } from './token-cache.ts';

export interface InputOptions {
  /** For planning alone: the folder need not hold weights. */
  readonly withoutWeights?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ProgressEvent) => void;
}

export interface RunInputs {
  readonly settings: Settings;
  readonly model: ModelDirectory;
  /** Names of parameters that are not trained. */
  readonly frozen: readonly string[];
  readonly data: PreparedData;
  /** What the row length means for the model. */
  readonly remarks: readonly string[];
}

export async function prepareInputs(config: RunConfig, options: InputOptions): Promise<RunInputs> {
  const { dataset, eval_dataset: evaluation } = parseConfig(config, 'config');
  const settings = resolveSettings({
    ...config, dataset: resolveDatasetPath(dataset), ...(evaluation === undefined ? {} : { eval_dataset: resolveDatasetPath(evaluation) }),
  });
  const model = options.withoutWeights === true ? describeModel(settings.model) : openModelDirectory(settings.model);
  const frozen = frozenParameters(settings.freeze, model);
  const data = await prepareData({
    settings,
    modelDirectory: model.path,
    vocabularySize: model.config.vocabularySize,
    // A length that the user sets is checked below, with the reason; one that is chosen here fits.
    modelMaxLength: settings.max_length === undefined ? longestRow(model.config) : model.config.maxPositions,
    workDirectory: tokenCache(),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onProgress: ({ dataset, bytesRead, totalBytes }) => options.onProgress?.({ kind: 'progress', what: 'tokenising', dataset: basename(dataset), doneBytes: bytesRead, totalBytes }),
  });
  const remarks = checkLength(model.config, data.maxLength);
  return { settings, model, frozen, data, remarks };
}

/** Names of the parameters that `patterns` select. A pattern that selects none is a mistake. */
export function frozenParameters(patterns: readonly string[], { parameters }: ModelDirectory): readonly string[] {
  const names = parameters.map((parameter) => parameter.name);
  const frozen = new Set<string>();
  for (const pattern of patterns) {
    const expression = new RegExp(`^${pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`);
    const selected = names.filter((name) => expression.test(name));
    if (selected.length === 0) {
      const near = nearest(pattern, names);
      throw new FulltuneError('E_CONFIG', `no parameter of the model matches '${pattern}'`, {
        where: 'freeze',
        remedy: near === undefined ? `Names look like ${names[0]} and ${names.at(-1)}; * matches anything.` : `Did you mean ${near}? * matches anything.`,
      });
    }
    for (const name of selected) frozen.add(name);
  }
  if (frozen.size === names.length) throw new FulltuneError('E_CONFIG', 'all parameters are frozen: nothing is left to train', { where: 'freeze' });
  return names.filter((name) => frozen.has(name));
}
