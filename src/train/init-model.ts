/** `fulltune init`: a model folder with random weights, shaped like another model's config.json. Streamed: no tensor is ever held whole. */

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FulltuneError } from '../base/errors.ts';
import { fileError } from '../files/fs-errors.ts';
import { writeJson } from '../files/json.ts';
import { copyModelFiles } from '../files/model-files.ts';
import { writeSharded } from '../files/write-safetensors.ts';
import { encodeElements } from '../graph/dtype.ts';
import { elementCount } from '../graph/shape.ts';
import { CHUNK_ELEMENTS, initialValues, likeConfig, type SizeOverrides } from '../models/init.ts';
import { countParameters, parameterList } from '../models/parameters.ts';
import { readModelConfig } from './model-directory.ts';

export interface InitOptions {
  /** Folder to make; it must not exist, or be empty. */
  readonly directory: string;
  /** Folder whose config.json (and tokenizer files) are taken. */
  readonly like: string;
  readonly overrides?: SizeOverrides;
  /** Default 42. */
  readonly seed?: number;
  /** Default float32. */
  readonly dtype?: 'float32' | 'bfloat16' | 'float16';
  /** Default 5 GB. */
  readonly maxShardBytes?: number;
}

export interface InitResult {
  readonly parameters: number;
  readonly files: readonly string[];
}

const DTYPES = { float32: ['f32', 'F32'], bfloat16: ['bf16', 'BF16'], float16: ['f16', 'F16'] } as const;

export async function initModel(options: InitOptions): Promise<InitResult> {
  const { directory, like, seed = 42, dtype = 'float32' } = options;
  const { json, config } = likeConfig(readModelConfig(like).json, options.overrides ?? {}, join(like, 'config.json'));
  if (existsSync(directory) && (!statSync(directory).isDirectory() || readdirSync(directory).length > 0)) {
    throw new FulltuneError('E_RUN', `'${directory}' exists and is no empty folder`, { where: directory, remedy: 'Choose another folder.' });
  }
  const [memory, file] = DTYPES[dtype];
  const parameters = parameterList(config);
  const byName = new Map(parameters.map((parameter, index) => [parameter.name, { parameter, index }]));
  const aside = join(dirname(directory), `.${basename(directory)}.partial-${process.pid}`);
  try {
    mkdirSync(aside, { recursive: true });
    await copyModelFiles(like, aside);
    writeJson(join(aside, 'config.json'), { ...json, ['dtype' in json ? 'dtype' : 'torch_dtype']: dtype });
    await writeSharded({
      directory: aside,
      tensors: parameters.map(({ name, shape }) => ({ name, dtype: file, shape })),
      metadata: { format: 'pt' },
      ...(options.maxShardBytes === undefined ? {} : { maxShardBytes: options.maxShardBytes }),
      fill: async (name, write) => {
        const { parameter, index } = byName.get(name)!;
        const values = initialValues(parameter, seed, index);
        const count = elementCount(parameter.shape);
        for (let offset = 0; offset < count; offset += CHUNK_ELEMENTS) {
          write(encodeElements(memory, values(Math.min(CHUNK_ELEMENTS, count - offset), offset)));
          if ((offset / CHUNK_ELEMENTS) % 16 === 15) await new Promise((resolve) => setImmediate(resolve));
        }
      },
    });
    if (existsSync(directory)) rmSync(directory, { recursive: true });
    renameSync(aside, directory);
  } catch (error) {
    throw fileError(error, 'write', directory);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return { parameters: countParameters(config), files: readdirSync(directory).sort() };
}
