import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { FulltuneError } from '../base/errors.ts';
import { sharedPath } from '../testing/shared.ts';
import { readSafetensorsHeader } from './safetensors.ts';
import { WeightFiles } from './weight-files.ts';

let folder = '';
beforeAll(() => { folder = mkdtempSync(join(tmpdir(), 'fulltune-safetensors-')); });
afterAll(() => rmSync(folder, { recursive: true }));

/** A file with this header text, followed by `dataBytes` bytes 0, 1, 2, …. */
function fileBytes(header: string | Uint8Array, dataBytes: number, claimed?: bigint): Buffer {
  const json = Buffer.from(header as string);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claimed ?? BigInt(json.byteLength));
  return Buffer.concat([length, json, Buffer.from(Array.from({ length: dataBytes }, (_, i) => i % 256))]);
}

function write(bytes: Uint8Array): string {
  const path = join(folder, 'x.safetensors');
  writeFileSync(path, bytes);
  return path;
}

function refusal(bytes: Uint8Array): FulltuneError {
  const path = write(bytes);
  try {
    readSafetensorsHeader(path);
  } catch (error) {
    if (error instanceof FulltuneError) {
      expect(error.code).toBe('E_FILE');
      expect(error.where).toBe(path);
      return error;
    }
    throw error;
  }
  throw new Error('the file was accepted');
}

const VALID = '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[24,30]},"c":{"dtype":"U8","shape":[0,7],"data_offsets":[30,30]}}';

describe('readSafetensorsHeader', () => {
  it('reads names, dtypes, shapes and places', () => {
    const header = readSafetensorsHeader(write(fileBytes(VALID, 30)));
    const start = 8 + VALID.length;
    expect(header.metadata).toEqual({ format: 'pt' });
    expect(header.tensors).toEqual([
      { name: 'a', dtype: 'F32', shape: [2, 3], bytes: 24, fileOffset: start },
      { name: 'b', dtype: 'BF16', shape: [3], bytes: 6, fileOffset: start + 24 },
      { name: 'c', dtype: 'U8', shape: [0, 7], bytes: 0, fileOffset: start + 30 },
    ]);
  });

  it('takes scalars, no tensors, padding, and names that look like numbers or prototypes', () => {
    expect(readSafetensorsHeader(write(fileBytes('{}      ', 0))).tensors).toEqual([]);
    const odd = '{"__proto__":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"7":{"dtype":"I8","shape":[1],"data_offsets":[8,9]}}';
    expect(readSafetensorsHeader(write(fileBytes(odd, 9))).tensors.map(({ name }) => name)).toEqual(['__proto__', '7']);
  });

  const a = (rest: string): string => `{"a":{${rest}}}`;
  const hostile: readonly (readonly [string, Buffer, RegExp])[] = [
    ['an empty file', Buffer.alloc(0), /0 bytes/],
    ['a file shorter than the length', Buffer.alloc(7), /7 bytes/],
    ['a header of 2^63 bytes', fileBytes('{}', 0, 2n ** 63n), /claims 9223372036854775808 bytes; the limit is 100000000/],
    ['a header above 100 MB', fileBytes('{}', 0, 100_000_001n), /limit is 100000000/],
    ['a header beyond the file', fileBytes('{}', 0, 1000n), /claims 1000 bytes, but the file ends 2 bytes/],
    ['an empty header', fileBytes('', 0), /does not begin with '\{'/],
    ['a header that is not an object', fileBytes('[]', 0), /does not begin with '\{'/],
    ['broken JSON', fileBytes('{"a":', 0), /not valid JSON/],
    ['a string without end', fileBytes('{"a', 0), /not valid JSON/],
    ['bytes that are not UTF-8', fileBytes(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x30, 0x7d]), 0), /not valid JSON/],
    ['deep nesting', fileBytes(`{"__metadata__":${'['.repeat(5000)}${']'.repeat(5000)}}`, 0), /nested deeper/],
    ['a name twice', fileBytes('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1), /'a' occurs twice/],
    ['a key twice', fileBytes(a('"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]'), 1), /'shape' occurs twice/],
    ['metadata that are not strings', fileBytes('{"__metadata__":{"x":1}}', 0), /'x' is not a string/],
    ['metadata that are a list', fileBytes('{"__metadata__":[]}', 0), /not an object/],
    ['an entry that is a number', fileBytes('{"a":3}', 0), /'a' is not described by an object/],
    ['an unknown dtype', fileBytes(a('"dtype":"F13","shape":[1],"data_offsets":[0,1]'), 1), /'a' has the unknown dtype "F13"; known are BOOL/],
    ['a dtype from the prototype', fileBytes(a('"dtype":"toString","shape":[1],"data_offsets":[0,1]'), 1), /unknown dtype/],
    ['no dtype', fileBytes(a('"shape":[1],"data_offsets":[0,1]'), 1), /unknown dtype none/],
    ['a negative axis', fileBytes(a('"dtype":"U8","shape":[-1],"data_offsets":[0,1]'), 1), /shape \[-1\]/],
    ['a broken axis', fileBytes(a('"dtype":"U8","shape":[1.5],"data_offsets":[0,1]'), 1), /shape \[1.5\]/],
    ['an axis above 2^53', fileBytes(a('"dtype":"U8","shape":[1e300],"data_offsets":[0,1]'), 1), /shape/],
    ['a shape that overflows', fileBytes(a('"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]'), 0), /more bytes than 2\^53/],
    ['a shape that is no list', fileBytes(a('"dtype":"U8","shape":1,"data_offsets":[0,1]'), 1), /shape 1,/],
    ['negative offsets', fileBytes(a('"dtype":"U8","shape":[1],"data_offsets":[-1,0]'), 1), /data_offsets \[-1,0\]/],
    ['three offsets', fileBytes(a('"dtype":"U8","shape":[1],"data_offsets":[0,1,1]'), 1), /data_offsets \[0,1,1\]/],
    ['offsets the wrong way round', fileBytes(a('"dtype":"U8","shape":[1],"data_offsets":[1,0]'), 1), /ends at 0, before it begins at 1/],
    ['offsets that do not fit the shape', fileBytes(a('"dtype":"F32","shape":[2],"data_offsets":[0,4]'), 4), /\[2\] takes 8 bytes, but its data_offsets \[0,4\] span 4/],
    ['offsets beyond the file', fileBytes(a('"dtype":"U8","shape":[9],"data_offsets":[0,9]'), 5), /ends at 9, but the file holds only 5 bytes.*truncated/],
    ['a gap before', fileBytes(a('"dtype":"U8","shape":[1],"data_offsets":[3,4]'), 4), /3 bytes between the header and tensor 'a'/],
    ['bytes after', fileBytes(a('"dtype":"U8","shape":[1],"data_offsets":[0,1]'), 4), /3 bytes after tensor 'a'/],
    ['an overlap', fileBytes('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}}', 7), /'b' begins at 3 and overlaps tensor 'a', which ends at 4/],
    ['a gap between', fileBytes('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}', 4), /2 bytes between tensor 'a' and tensor 'b'/],
  ];
  it.each(hostile)('refuses %s', (_, bytes, message) => {
    expect(refusal(bytes).message).toMatch(message);
  });

  it('refuses a file cut anywhere', () => {
    const whole = fileBytes(VALID, 30);
    for (let length = 0; length < whole.byteLength; length++) refusal(whole.subarray(0, length));
  });

  it('refuses what is absent or no regular file', () => {
    expect(() => readSafetensorsHeader(join(folder, 'none'))).toThrow(/does not exist/);
    expect(() => readSafetensorsHeader(folder)).toThrow(/not a regular file/);
    expect(() => readSafetensorsHeader('/dev/null')).toThrow(/not a regular file/);
  });

  it('survives any change of bytes: a FulltuneError, or a description that the file really has room for', () => {
    const whole = fileBytes(VALID, 30);
    const change = fc.tuple(fc.nat(whole.byteLength - 1), fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('{}[]",:0-9.eE\\'))));
    fc.assert(fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.option(fc.nat(whole.byteLength)), (changes, cut) => {
      const bytes = Buffer.from(whole);
      for (const [at, value] of changes) bytes[at] = value;
      const path = write(cut === null ? bytes : bytes.subarray(0, cut));
      let header;
      try {
        header = readSafetensorsHeader(path);
      } catch (error) {
        if (error instanceof FulltuneError && error.code === 'E_FILE') return;
        throw error;
      }
      let covered = 8 + Number(bytes.readBigUInt64LE(0));
      for (const { fileOffset, bytes: size } of header.tensors) {
        expect(fileOffset).toBe(covered);
        covered += size;
      }
      expect(covered).toBe(header.fileBytes);
    }), { numRuns: 2000 });
  }, 60_000);

  it('reads real files', async () => {
    const model = WeightFiles.open(sharedPath('models/stories260K'));
    expect(model.metadata).toEqual({ format: 'pt' });
    expect(model.tensors.get('model.embed_tokens.weight')).toMatchObject({ dtype: 'F32', shape: [512, 64], bytes: 131072 });
    expect(model.tensors.size).toBe(47);
    const whole = readFileSync(sharedPath('models/stories260K/model.safetensors'));
    for (const [name, { bytes }] of model.tensors) {
      const chunks: Buffer[] = [];
      await model.readTensor(name, (chunk) => void chunks.push(Buffer.from(chunk)));
      const place = readSafetensorsHeader(sharedPath('models/stories260K/model.safetensors')).tensors.find((tensor) => tensor.name === name);
      const start = place?.fileOffset ?? 0;
      expect(Buffer.concat(chunks).equals(whole.subarray(start, start + bytes))).toBe(true);
    }
    model.close();
    const gradients = WeightFiles.openFile(sharedPath('reference/grads_dense.safetensors'));
    expect([...gradients.tensors.keys()].sort()).toEqual([...model.tensors.keys()].sort());
    let sum = 0;
    await gradients.readTensor('model.norm.weight', (bytes) => {
      sum += new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4).reduce((total, x) => total + Math.abs(x), 0);
    });
    expect(sum).toBeGreaterThan(0);
    expect(Number.isFinite(sum)).toBe(true);
    gradients.close();
  });

  it('notices a file that shrinks while it is read', async () => {
    const path = write(fileBytes(VALID, 30));
    const weights = WeightFiles.openFile(path);
    truncateSync(path, 8 + VALID.length + 10);
    await expect(weights.readTensor('a', () => undefined)).rejects.toThrow(/became shorter while tensor 'a'/);
    weights.close();
  });
});
