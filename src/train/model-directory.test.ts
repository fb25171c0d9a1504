import { describe, expect, it } from 'vitest';
import { modelName, openModelDirectory, readModelConfig } from './model-directory.ts';
import { sharedPath } from '../testing/shared.ts';

describe('modelName', () => {
  it('is the folder, or the run whose model or checkpoint it is', () => {
    expect(['org/name', './a/b/', 'runs/stories/model', '/x/runs/s/checkpoint-40', 'model'].map(modelName)).toEqual(['name', 'b', 'stories', 's', 'model']);
  });
});

describe('openModelDirectory', () => {
  it('finds every parameter of a real model with the dtype of its file', () => {
    const { parameters, config, name } = openModelDirectory(sharedPath('models/stories260K'));
    expect([name, config.modelType, parameters.length]).toEqual(['stories260K', 'llama', 47]);
    expect(new Set(parameters.map(({ fileDType }) => fileDType))).toEqual(new Set(['F32']));
  });

  it('says that a folder without config.json is no model', () => {
    expect(() => readModelConfig(sharedPath('datasets'))).toThrowError(expect.objectContaining({ code: 'E_MODEL', message: expect.stringContaining('no config.json') as unknown }) as Error);
  });
});
