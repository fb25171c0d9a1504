/** The weights of a model folder, one file or shards, read tensor by tensor through one bounded buffer. */

import { closeSync, existsSync, read, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { MIB } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import { fileError } from './fs-errors.ts';
import { openRegularFile, readHeaderOf, type SafetensorsDType, type TensorPlace } from './safetensors.ts';
import { parseStrictJson } from './strict-json.ts';

const readAsync = promisify(read);

/** A multiple of every element size, so chunks begin and end between elements. */
const STAGING_BYTES = MIB;

export const SINGLE_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

export interface StoredTensor {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** Path of the file that holds it. */
  readonly file: string;
}

/** `bytes` starts at a multiple of 8 of its buffer and is valid only until the callback returns (or its promise settles). */
export type OnChunk = (bytes: Uint8Array, byteOffsetInTensor: number) => void | Promise<void>;

interface OpenFile {
  readonly path: string;
  readonly descriptor: number;
  readonly tensors: readonly TensorPlace[];
  readonly metadata: Readonly<Record<string, string>>;
}

interface Place {
  readonly file: OpenFile;
  readonly place: TensorPlace;
}

export class WeightFiles {
  /** In file order. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Of the first file. */
  readonly metadata: Readonly<Record<string, string>>;
  private readonly files: readonly OpenFile[];
  private readonly places: ReadonlyMap<string, Place>;
  private staging: Buffer | undefined;
  /** Reads share the staging buffer, so each waits for the one before. */
  private last: Promise<void> = Promise.resolve();

  private constructor(files: readonly OpenFile[]) {
    this.files = files;
    this.metadata = files[0]?.metadata ?? {};
    const places = new Map<string, Place>();
    const tensors = new Map<string, StoredTensor>();
    for (const file of files) {
      for (const place of file.tensors) {
        const other = places.get(place.name);
        if (other !== undefined) {
          throw new FulltuneError('E_FILE', `tensor '${place.name}' is in '${other.file.path}' and again in '${file.path}'`, { where: file.path });
        }
        places.set(place.name, { file, place });
        tensors.set(place.name, { dtype: place.dtype, shape: place.shape, bytes: place.bytes, file: file.path });
      }
    }
    this.places = places;
    this.tensors = tensors;
  }

  /**
   * The weights of a folder in Hugging Face format: `model.safetensors`, or the shards of `model.safetensors.index.json`.
   * Every header is checked at once. Throws E_MODEL when there are none that can be read, E_FILE when one is damaged.
   */
  static open(directory: string): WeightFiles {
    // transformers prefers the single file too
    if (existsSync(join(directory, SINGLE_FILE))) return WeightFiles.openFiles([join(directory, SINGLE_FILE)]);
    const index = join(directory, INDEX_FILE);
    if (!existsSync(index)) throw noWeights(directory);
    const weightMap = readIndex(index);
    const shards = [...new Set(weightMap.values())].sort();
    for (const shard of shards) {
      if (!existsSync(join(directory, shard))) {
        throw new FulltuneError('E_FILE', `shard '${shard}' is missing from '${directory}'; the index names ${shards.length} shards`, {
          where: index, remedy: 'Download or copy the model again, whole.',
        });
      }
    }
    const weights = WeightFiles.openFiles(shards.map((shard) => join(directory, shard)));
    for (const [name, shard] of weightMap) {
      const found = weights.tensors.get(name);
      if (found?.file === join(directory, shard)) continue;
      weights.close();
      const instead = found === undefined ? 'no shard has it' : `it is in '${found.file}'`;
      throw new FulltuneError('E_FILE', `the index says that tensor '${name}' is in '${shard}', but ${instead}`, { where: index });
    }
    return weights;
  }

  /** One safetensors file of any name, `optimizer.safetensors` for example. */
  static openFile(path: string): WeightFiles {
    return WeightFiles.openFiles([path]);
  }

  private static openFiles(paths: readonly string[]): WeightFiles {
    const files: OpenFile[] = [];
    const descriptors: number[] = [];
    try {
      for (const path of paths) {
        const descriptor = openRegularFile(path);
        descriptors.push(descriptor);
        const { tensors, metadata } = readHeaderOf(descriptor, path);
        files.push({ path, descriptor, tensors, metadata });
      }
      return new WeightFiles(files);
    } catch (error) {
      descriptors.forEach((descriptor) => closeSync(descriptor));
      throw error;
    }
  }

  /** Hands the tensor's bytes over in order, in chunks of at most 1 MiB. The event loop runs between chunks. Throws E_FILE. */
  async readTensor(name: string, onChunk: OnChunk): Promise<void> {
    const place = this.places.get(name);
    if (place === undefined) {
      throw new FulltuneError('E_FILE', `there is no tensor '${name}' in ${this.files.map((file) => `'${file.path}'`).join(', ')}`);
    }
    const turn = this.last.then(() => this.readPlace(place, onChunk));
    this.last = turn.catch(() => undefined);
    return turn;
  }

  private async readPlace({ file, place }: Place, onChunk: OnChunk): Promise<void> {
    this.staging ??= Buffer.allocUnsafeSlow(STAGING_BYTES);
    for (let done = 0; done < place.bytes;) {
      const length = Math.min(STAGING_BYTES, place.bytes - done);
      await fillFrom(file, place.fileOffset + done, this.staging.subarray(0, length), place.name);
      await onChunk(this.staging.subarray(0, length), done);
      done += length;
    }
  }

  /** Closes the files and lets go of the staging buffer. Do not read after. */
  close(): void {
    this.files.forEach((file) => closeSync(file.descriptor));
    this.staging = undefined;
  }
}

async function fillFrom(file: OpenFile, position: number, target: Buffer, tensor: string): Promise<void> {
  try {
    for (let done = 0; done < target.byteLength;) {
      const { bytesRead } = await readAsync(file.descriptor, target, done, target.byteLength - done, position + done);
      if (bytesRead === 0) {
        throw new FulltuneError('E_FILE', `'${file.path}' became shorter while tensor '${tensor}' was read: it ends at byte ${position + done}`, { where: file.path });
      }
      done += bytesRead;
    }
  } catch (error) {
    throw fileError(error, 'read', file.path);
  }
}

/** name → file name of its shard. Shard names must be plain names: an index must not reach out of its folder. */
function readIndex(path: string): ReadonlyMap<string, string> {
  const bad = (what: string): FulltuneError => new FulltuneError('E_FILE', `'${path}' is not a valid weight index: ${what}`, { where: path });
  let text: string;
  let json: unknown;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  try {
    json = parseStrictJson(text);
  } catch (error) {
    throw bad(error instanceof Error ? error.message : String(error));
  }
  const weightMap = typeof json === 'object' && json !== null && 'weight_map' in json ? json.weight_map : undefined;
  if (typeof weightMap !== 'object' || weightMap === null || Array.isArray(weightMap)) throw bad('it has no weight_map');
  const result = new Map<string, string>();
  for (const [name, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string' || !/^[^/\\\0]+\.safetensors$/.test(shard)) {
      throw bad(`tensor '${name}' is said to be in ${JSON.stringify(shard)}, which is not the name of a .safetensors file in the same folder`);
    }
    result.set(name, shard);
  }
  if (result.size === 0) throw bad('its weight_map is empty');
  return result;
}

function noWeights(directory: string): FulltuneError {
  const bin = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].find((name) => existsSync(join(directory, name)));
  if (bin === undefined) {
    return new FulltuneError('E_MODEL', `'${directory}' has no weights: neither ${SINGLE_FILE} nor ${INDEX_FILE}`, {
      where: directory, remedy: 'Give a folder in Hugging Face format with safetensors weights.',
    });
  }
  return new FulltuneError('E_MODEL', `'${directory}' has its weights only as ${bin}, a pickle, which can run code when it is read`, {
    where: directory,
    remedy: 'Convert it once with transformers: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR, safe_serialization=True).',
  });
}
