/** Writes safetensors files as a stream: header first, for all sizes are known, then tensor after tensor as `fill` hands them over. */

import { createHash } from 'node:crypto';
import { closeSync, fsync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';

import { FulltuneError } from '../base/errors.ts';
import { syncPath, writeFully } from './durable.ts';
import { fileError } from './fs-errors.ts';
import { MAX_HEADER_BYTES, safetensorsDTypeBytes, shapeBytes, type SafetensorsDType } from './safetensors.ts';
import { sha256OfFile } from './sha256.ts';
import { INDEX_FILE, SINGLE_FILE } from './weight-files.ts';

const fsyncAsync = promisify(fsync);

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
}

/**
 * Hands over the bytes of tensor `name`, in order, in chunks of any size. `write` has taken the chunk when it returns, so its buffer may be
 * used again at once. A `fill` that hands over much should await something now and then, so that the event loop runs.
 */
export type Fill = (name: string, write: (chunk: Uint8Array) => void) => void | Promise<void>;

export interface FileWritten {
  readonly path: string;
  readonly bytes: number;
  /** Of the whole file, lower-case hexadecimal. */
  readonly sha256: string;
}

interface Sized extends TensorToWrite {
  readonly bytes: number;
}

/**
 * One file, synced to disk when the promise settles. Tensors lie in the order given, those of wider elements first (as the reference
 * implementation does), so that each is aligned. Throws E_DISK or E_FILE and removes what it has written.
 */
export async function writeSafetensors(options: {
  readonly path: string;
  readonly tensors: readonly TensorToWrite[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fill: Fill;
}): Promise<FileWritten> {
  const { path, fill } = options;
  const tensors = sized(options.tensors).sort((a, b) => safetensorsDTypeBytes(b.dtype) - safetensorsDTypeBytes(a.dtype));
  const header = encodeHeader(tensors, options.metadata ?? {});
  const hash = createHash('sha256');
  let bytes = 0;
  let created = false;
  try {
    const file = openSync(path, 'wx');
    created = true;
    const put = (chunk: Uint8Array): void => {
      writeFully(file, chunk);
      hash.update(chunk);
      bytes += chunk.byteLength;
    };
    try {
      put(header);
      for (const tensor of tensors) {
        await writeTensor(tensor, fill, put);
        await nextTurn();
      }
      await fsyncAsync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (created) rmSync(path, { force: true });
    throw fileError(error, 'write', path);
  }
  return { path, bytes, sha256: hash.digest('hex') };
}

/**
 * `model.safetensors`, or, when the tensors take more than `maxShardBytes`, `model-00001-of-0000N.safetensors` … and their index. A tensor
 * is never split: one larger than `maxShardBytes` gets a shard of its own. Returns the files in the order written, the index last.
 */
export async function writeSharded(options: {
  readonly directory: string;
  readonly tensors: readonly TensorToWrite[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fill: Fill;
  /** Default 5 GB, as transformers had it for years. */
  readonly maxShardBytes?: number;
}): Promise<readonly FileWritten[]> {
  const { directory, fill, metadata = {} } = options;
  const shards = cutIntoShards(sized(options.tensors), options.maxShardBytes ?? 5e9);
  if (shards.length <= 1) {
    return [await writeSafetensors({ path: join(directory, SINGLE_FILE), tensors: options.tensors, metadata, fill })];
  }
  const written: FileWritten[] = [];
  const weightMap: [string, string][] = [];
  for (const [index, tensors] of shards.entries()) {
    const name = `model-${count(index + 1)}-of-${count(shards.length)}.safetensors`;
    written.push(await writeSafetensors({ path: join(directory, name), tensors, metadata, fill }));
    weightMap.push(...tensors.map((tensor): [string, string] => [tensor.name, name]));
  }
  const totalBytes = shards.flat().reduce((sum, tensor) => sum + tensor.bytes, 0);
  written.push(await writeIndex(join(directory, INDEX_FILE), totalBytes, weightMap));
  return written;
}

async function writeIndex(path: string, totalBytes: number, weightMap: readonly (readonly [string, string])[]): Promise<FileWritten> {
  const text = `${JSON.stringify({ metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(weightMap) }, null, 2)}\n`;
  try {
    writeFileSync(path, text, { flag: 'wx' });
    await syncPath(path, 'file');
  } catch (error) {
    throw fileError(error, 'write', path);
  }
  return { path, bytes: Buffer.byteLength(text), sha256: await sha256OfFile(path) };
}

async function writeTensor(tensor: Sized, fill: Fill, put: (chunk: Uint8Array) => void): Promise<void> {
  let given = 0;
  let open = true;
  const complaint = (what: string): Error =>
    new Error(`tensor '${tensor.name}' ${tensor.dtype} [${tensor.shape.join(', ')}] has ${tensor.bytes} bytes, but ${what}`);
  await fill(tensor.name, (chunk) => {
    if (!open) throw complaint('more were written after fill had ended');
    given += chunk.byteLength;
    if (given > tensor.bytes) throw complaint(`at least ${given} were written`);
    put(chunk);
  });
  open = false;
  if (given !== tensor.bytes) throw complaint(`only ${given} were written`);
}

/** Length, JSON, and spaces up to a multiple of 8, as the reference implementation writes it. */
function encodeHeader(tensors: readonly Sized[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const entries: [string, unknown][] = Object.keys(metadata).length === 0 ? [] : [['__metadata__', metadata]];
  let offset = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    entries.push([name, { dtype, shape, data_offsets: [offset, offset + bytes] }]);
    offset += bytes;
  }
  // Not through one object: JavaScript would move keys that look like numbers to the front.
  const text = Buffer.from(`{${entries.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`).join(',')}}`, 'utf8');
  const length = Math.ceil(text.byteLength / 8) * 8;
  if (length > MAX_HEADER_BYTES) throw new Error(`the safetensors header would have ${length} bytes; the limit is ${MAX_HEADER_BYTES}`);
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length), 0);
  header.set(text, 8);
  return header;
}

function sized(tensors: readonly TensorToWrite[]): Sized[] {
  const names = new Set<string>();
  return tensors.map((tensor) => {
    const bytes = shapeBytes(tensor.dtype, tensor.shape);
    if (bytes === undefined) throw new FulltuneError('E_SHAPE', `tensor '${tensor.name}' cannot have the shape [${tensor.shape.join(', ')}]`);
    if (names.has(tensor.name) || tensor.name === '__metadata__') throw new Error(`tensor name '${tensor.name}' is taken`);
    names.add(tensor.name);
    return { ...tensor, bytes };
  });
}

function cutIntoShards(tensors: readonly Sized[], maxShardBytes: number): Sized[][] {
  const shards: Sized[][] = [];
  let bytes = 0;
  for (const tensor of tensors) {
    const last = shards.at(-1);
    if (last === undefined || bytes + tensor.bytes > maxShardBytes) {
      shards.push([tensor]);
      bytes = tensor.bytes;
    } else {
      last.push(tensor);
      bytes += tensor.bytes;
    }
  }
  return shards;
}

function count(number: number): string {
  return String(number).padStart(5, '0');
}
