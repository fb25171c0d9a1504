/**
 * The head of a safetensors file: 8 bytes little-endian length, that much JSON (name → dtype, shape, offsets), then the tensors' bytes
 * without gaps. Nothing in the file is believed before it is checked; a file that passes here can be read without further thought.
 * (github.com/huggingface/safetensors, "Format")
 */

import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';

import { FulltuneError } from '../base/errors.ts';
import { fileError } from './fs-errors.ts';
import { parseStrictJson } from './strict-json.ts';

const BYTES = {
  BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1,
  U16: 2, I16: 2, F16: 2, BF16: 2,
  U32: 4, I32: 4, F32: 4,
  U64: 8, I64: 8, F64: 8, C64: 8,
} as const;

/** Element types as the format spells them. */
export type SafetensorsDType = keyof typeof BYTES;

export function isSafetensorsDType(name: string): name is SafetensorsDType {
  return Object.hasOwn(BYTES, name);
}

/** Bytes per element. */
export function safetensorsDTypeBytes(dtype: SafetensorsDType): number {
  return BYTES[dtype];
}

/** Where a tensor lies in its file. */
export interface TensorPlace {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** From the start of the file. */
  readonly fileOffset: number;
}

export interface SafetensorsHeader {
  /** In the order in which their bytes lie in the file. */
  readonly tensors: readonly TensorPlace[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly fileBytes: number;
}

/** As in the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;

/** Throws E_FILE, naming file, tensor, values and limit, for anything that is not a whole, valid safetensors file. */
export function readSafetensorsHeader(path: string): SafetensorsHeader {
  const file = openRegularFile(path);
  try {
    return readHeaderOf(file, path);
  } finally {
    closeSync(file);
  }
}

/** Opens for reading; refuses folders, pipes and devices, whose reads may never end. */
export function openRegularFile(path: string): number {
  try {
    if (!statSync(path).isFile()) throw new FulltuneError('E_FILE', `'${path}' is not a regular file`, { where: path });
    return openSync(path, 'r');
  } catch (error) {
    throw fileError(error, 'read', path);
  }
}

/** As `readSafetensorsHeader`, of a file that is open already. */
export function readHeaderOf(file: number, path: string): SafetensorsHeader {
  const fileBytes = fstatSync(file).size;
  if (fileBytes < LENGTH_BYTES) {
    throw bad(path, `it has ${fileBytes} bytes, and even an empty one has ${LENGTH_BYTES + 2}`);
  }
  const headerBytes = readExactly(file, 0, LENGTH_BYTES, path).readBigUInt64LE(0);
  if (headerBytes > BigInt(MAX_HEADER_BYTES)) {
    throw bad(path, `its header claims ${headerBytes} bytes; the limit is ${MAX_HEADER_BYTES}`);
  }
  const dataStart = LENGTH_BYTES + Number(headerBytes);
  if (dataStart > fileBytes) {
    throw bad(path, `its header claims ${headerBytes} bytes, but the file ends ${fileBytes - LENGTH_BYTES} bytes after the length`);
  }
  const json = parseHeader(readExactly(file, LENGTH_BYTES, Number(headerBytes), path), path);
  const metadata = readMetadata(json['__metadata__'], path);
  const tensors = Object.entries(json)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, entry]) => readEntry(name, entry, dataStart, path))
    .sort((a, b) => a.fileOffset - b.fileOffset || a.bytes - b.bytes);
  checkCoverage(tensors, dataStart, fileBytes, path);
  return { tensors, metadata, fileBytes };
}

/** Number of elements times element size, or undefined when an axis is not a count or the product cannot be counted exactly. */
export function shapeBytes(dtype: SafetensorsDType, shape: readonly number[]): number | undefined {
  let bytes: number = BYTES[dtype];
  for (const axis of shape) {
    if (!Number.isSafeInteger(axis) || axis < 0) return undefined;
    bytes *= axis;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

function readExactly(file: number, position: number, length: number, path: string): Buffer {
  const buffer = Buffer.alloc(length);
  try {
    for (let done = 0; done < length;) {
      const count = readSync(file, buffer, done, length - done, position + done);
      if (count === 0) throw bad(path, `it ends at byte ${position + done} of ${position + length} while being read`);
      done += count;
    }
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  return buffer;
}

function parseHeader(bytes: Buffer, path: string): Record<string, unknown> {
  if (bytes[0] !== 0x7b) throw bad(path, `its header does not begin with '{' (${bytes.length === 0 ? 'it is empty' : `byte ${bytes[0]}`})`);
  let json: unknown;
  try {
    json = parseStrictJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw bad(path, `its header is not valid JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isObject(json)) throw bad(path, 'its header is not a JSON object');
  return json;
}

function readMetadata(value: unknown, path: string): Readonly<Record<string, string>> {
  if (value === undefined) return {};
  if (!isObject(value)) throw bad(path, '__metadata__ is not an object');
  const pairs: [string, string][] = [];
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw bad(path, `__metadata__ entry '${shorten(key)}' is not a string`);
    pairs.push([key, text]);
  }
  return Object.fromEntries(pairs);
}

function readEntry(name: string, entry: unknown, dataStart: number, path: string): TensorPlace {
  const tensor = `tensor '${shorten(name)}'`;
  if (!isObject(entry)) throw bad(path, `${tensor} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string' || !isSafetensorsDType(dtype)) {
    throw bad(path, `${tensor} has the unknown dtype ${show(dtype)}; known are ${Object.keys(BYTES).join(', ')}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw bad(path, `${tensor} has the shape ${show(shape)}, which is not a list of whole numbers ≥ 0`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw bad(path, `${tensor} has the data_offsets ${show(offsets)}, which are not two whole numbers ≥ 0`);
  }
  const begin = offsets[0] ?? 0;
  const end = offsets[1] ?? 0;
  if (end < begin) throw bad(path, `${tensor} ends at ${end}, before it begins at ${begin}`);
  const bytes = shapeBytes(dtype, shape);
  if (bytes === undefined) throw bad(path, `${tensor} of shape ${show(shape)} has more bytes than 2^53`);
  if (bytes !== end - begin) {
    throw bad(path, `${tensor} ${dtype} ${show(shape)} takes ${bytes} bytes, but its data_offsets ${show(offsets)} span ${end - begin}`);
  }
  return { name, dtype, shape, bytes, fileOffset: dataStart + begin };
}

/** Every byte after the header belongs to exactly one tensor. */
function checkCoverage(tensors: readonly TensorPlace[], dataStart: number, fileBytes: number, path: string): void {
  let covered = dataStart;
  let previous = 'the header';
  for (const { name, fileOffset, bytes } of tensors) {
    const begin = fileOffset - dataStart;
    const tensor = `tensor '${shorten(name)}'`;
    if (fileOffset < covered) throw bad(path, `${tensor} begins at ${begin} and overlaps ${previous}, which ends at ${covered - dataStart}`);
    if (fileOffset > covered) throw bad(path, `${fileOffset - covered} bytes between ${previous} and ${tensor}, at ${covered - dataStart}, belong to no tensor`);
    covered = fileOffset + bytes;
    previous = tensor;
    if (covered > fileBytes) {
      throw bad(path, `${tensor} ends at ${covered - dataStart}, but the file holds only ${fileBytes - dataStart} bytes of tensors: it is truncated`);
    }
  }
  if (covered < fileBytes) throw bad(path, `${fileBytes - covered} bytes after ${previous} belong to no tensor`);
}

function bad(path: string, what: string): FulltuneError {
  return new FulltuneError('E_FILE', `'${path}' is not a valid safetensors file: ${what}`, {
    where: path,
    remedy: 'Copy or download it again; a file cut short by a broken transfer looks like this.',
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function show(value: unknown): string {
  return shorten(value === undefined ? 'none' : JSON.stringify(value));
}

function shorten(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}
