import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import { resolveDatasetPath, resolveModelPath } from './hub-cache.ts';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
let folder = '';
beforeAll(() => { folder = mkdtempSync(join(tmpdir(), 'fulltune-hub-')); });
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => { vi.stubEnv('HF_HUB_CACHE', join(folder, 'hub')); });
afterEach(() => { vi.unstubAllEnvs(); });

function put(path: string, text = ''): string {
  const full = join(folder, path);
  mkdirSync(join(full, '..'), { recursive: true });
  writeFileSync(full, text);
  return full;
}

const code = (name: string, message: RegExp, remedy?: RegExp): unknown =>
  expect.objectContaining({ code: name, message: expect.stringMatching(message), ...(remedy === undefined ? {} : { remedy: expect.stringMatching(remedy) }) });

describe('resolveModelPath', () => {
  it('takes a folder with config.json as it is', () => {
    put('local/config.json');
    expect(resolveModelPath(join(folder, 'local'))).toBe(join(folder, 'local'));
  });

  it('finds ids in the cache: by branch, tag, commit', () => {
    const snapshot = join(folder, 'hub/models--org--name/snapshots', COMMIT);
    put(`hub/models--org--name/snapshots/${COMMIT}/config.json`);
    put('hub/models--org--name/refs/main', COMMIT);
    put('hub/models--org--name/refs/refs/pr/3', `${COMMIT}\n`);
    for (const id of ['org/name', 'org/name@main', 'org/name@refs/pr/3', `org/name@${COMMIT}`]) expect(resolveModelPath(id)).toBe(snapshot);
    expect(() => resolveModelPath('org/name@v2')).toThrow(code('E_HUB', /not in the Hugging Face cache/, /hf download org\/name --revision v2$/));
    put('hub/models--gpt2/refs/main', COMMIT);
    put(`hub/models--gpt2/snapshots/${COMMIT}/config.json`);
    expect(resolveModelPath('gpt2')).toBe(join(folder, 'hub/models--gpt2/snapshots', COMMIT));
    vi.stubEnv('HF_HUB_CACHE', '');
    vi.stubEnv('HF_HOME', folder);
    expect(resolveModelPath('org/name')).toBe(snapshot);
    vi.stubEnv('HF_HOME', '');
    vi.stubEnv('HOME', join(folder, 'home'));
    expect(() => resolveModelPath('org/name')).toThrow(code('E_HUB', /home\/.cache\/huggingface\/hub'$/));
  });

  it('prints the download line for what is not there, or not whole', () => {
    expect(() => resolveModelPath('org/other')).toThrow(code('E_HUB', /'org\/other', and the model is not in/, /hf download org\/other$/));
    put('hub/models--org--half/refs/main', COMMIT);
    mkdirSync(join(folder, 'hub/models--org--half/snapshots', COMMIT), { recursive: true });
    expect(() => resolveModelPath('org/half')).toThrow(code('E_HUB', /incomplete/, /hf download org\/half$/));
    put('hub/models--org--evil/refs/main', '../../../local');
    expect(() => resolveModelPath('org/evil')).toThrow(code('E_HUB', /not in/));
  });

  it('says what is wrong with a path', () => {
    const file = put('local/model.gguf');
    expect(() => resolveModelPath(file)).toThrow(code('E_MODEL', /is a file/, /GGUF/));
    expect(() => resolveModelPath(put('local/model.safetensors'))).toThrow(code('E_MODEL', /is a file/, /the folder that the file is in/));
    expect(() => resolveModelPath('runs/a/model')).toThrow(code('E_MODEL', /there is no folder 'runs\/a\/model'/));
    expect(() => resolveModelPath('../no/such')).toThrow(code('E_MODEL', /there is no folder/));
    expect(() => resolveModelPath('org/..@main')).toThrow(code('E_MODEL', /there is no folder/));
    expect(() => resolveModelPath('org/name@../x')).toThrow(code('E_MODEL', /there is no folder/));
    put('run/config.yaml');
    expect(() => resolveModelPath(join(folder, 'run'))).toThrow(code('E_MODEL', /no config.json/, /Hugging Face format/));
    put('run/model/config.json');
    expect(() => resolveModelPath(join(folder, 'run'))).toThrow(code('E_MODEL', /no config.json/, /Did you mean .*run\/model\?/));
  });
});

describe('resolveDatasetPath', () => {
  it('takes a file, or the only one of a folder', () => {
    const file = put('data/train.jsonl');
    put('data/README.md');
    expect(resolveDatasetPath(file)).toBe(file);
    expect(resolveDatasetPath(join(folder, 'data'))).toBe(file);
    put('data/test.json');
    expect(() => resolveDatasetPath(join(folder, 'data'))).toThrow(code('E_DATA', /2 files that could be the dataset: test.json, train.jsonl/));
    mkdirSync(join(folder, 'empty'));
    expect(() => resolveDatasetPath(join(folder, 'empty'))).toThrow(code('E_DATA', /has no .jsonl, .json, .txt file/));
    expect(() => resolveDatasetPath('data/none.jsonl')).toThrow(code('E_DATA', /there is no file 'data\/none.jsonl'/));
  });

  it('looks ids up in the cache, and prints the download line', () => {
    expect(() => resolveDatasetPath('org/set')).toThrow(code('E_HUB', /dataset is not in/, /hf download --repo-type dataset org\/set$/));
    expect(() => resolveDatasetPath('datasets--org--set')).toThrow(code('E_HUB', /dataset is not in/, /hf download --repo-type dataset org\/set$/));
    put('hub/datasets--org--set/refs/main', COMMIT);
    const file = put(`hub/datasets--org--set/snapshots/${COMMIT}/all.jsonl`);
    expect(resolveDatasetPath('org/set')).toBe(file);
    expect(resolveDatasetPath('datasets--org--set')).toBe(file);
  });
});
