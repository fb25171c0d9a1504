import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { MIB } from '../base/bytes.ts';
import { RandomStream } from '../base/random.ts';
import { sharedPath } from '../testing/shared.ts';
import { readSafetensorsHeader, safetensorsDTypeBytes, type SafetensorsDType } from './safetensors.ts';
import { WeightFiles } from './weight-files.ts';
import { writeSafetensors, writeSharded, type TensorToWrite } from './write-safetensors.ts';

let folder = '';
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'fulltune-write-')); });
afterEach(() => rmSync(folder, { recursive: true }));

async function readWhole(weights: WeightFiles, name: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let expected = 0;
  await weights.readTensor(name, (bytes, offset) => {
    expect(offset).toBe(expected);
    expect(bytes.byteOffset % 8).toBe(0);
    expect(bytes.byteLength).toBeLessThanOrEqual(4 * MIB);
    expected += bytes.byteLength;
    chunks.push(Buffer.from(bytes));
  });
  return Buffer.concat(chunks);
}

function noise(bytes: number, seed: number): Buffer {
  const random = new RandomStream(seed, 0);
  const words = Uint32Array.from({ length: Math.ceil(bytes / 4) }, () => random.uint32());
  return Buffer.from(words.buffer, 0, bytes);
}

const a: TensorToWrite = { name: 'a', dtype: 'F32', shape: [2] };

describe('writeSafetensors', () => {
  it('writes a real file again, byte for byte', async () => {
    const source = sharedPath('models/stories260K/model.safetensors');
    const weights = WeightFiles.openFile(source);
    const path = join(folder, 'model.safetensors');
    const written = await writeSafetensors({
      path,
      tensors: [...weights.tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
      metadata: weights.metadata,
      fill: (name, write) => weights.readTensor(name, (bytes) => write(bytes)),
    });
    weights.close();
    const bytes = readFileSync(path);
    expect(bytes.equals(readFileSync(source))).toBe(true);
    expect(written).toEqual({ path, bytes: bytes.byteLength, sha256: createHash('sha256').update(bytes).digest('hex') });
  });

  it('gives back what was written, for any tensors', async () => {
    const dtypes: SafetensorsDType[] = ['F32', 'BF16', 'F16', 'I32', 'I64', 'U8', 'F64', 'BOOL'];
    const tensor = fc.record({ name: fc.string({ unit: 'binary' }), dtype: fc.constantFrom(...dtypes), shape: fc.array(fc.nat(5), { maxLength: 3 }) });
    const tensors = fc.uniqueArray(tensor.filter(({ name }) => name !== '__metadata__'), { selector: ({ name }) => name, maxLength: 8 });
    await fc.assert(fc.asyncProperty(tensors, fc.dictionary(fc.string(), fc.string()), fc.integer({ min: 1, max: 9 }), async (list, metadata, chunkBytes) => {
      const path = join(folder, 'x.safetensors');
      rmSync(path, { force: true });
      const content = new Map(list.map(({ name, dtype, shape }, i) => [name, noise(shape.reduce((x, y) => x * y, safetensorsDTypeBytes(dtype)), i)]));
      await writeSafetensors({
        path, tensors: list, metadata,
        fill: (name, write) => {
          const bytes = content.get(name) ?? Buffer.alloc(0);
          for (let at = 0; at < bytes.byteLength; at += chunkBytes) write(bytes.subarray(at, at + chunkBytes));
        },
      });
      const header = readSafetensorsHeader(path);
      expect(header.metadata).toEqual({ ...metadata });
      for (const { dtype, fileOffset } of header.tensors) expect(fileOffset % safetensorsDTypeBytes(dtype)).toBe(0);
      const weights = WeightFiles.openFile(path);
      expect(weights.tensors.size).toBe(list.length);
      for (const { name, dtype, shape } of list) {
        expect(weights.tensors.get(name)).toMatchObject({ dtype, shape });
        expect((await readWhole(weights, name)).equals(content.get(name) ?? Buffer.alloc(1))).toBe(true);
      }
      weights.close();
    }), { numRuns: 30 });
  }, 60_000);

  it('reads in chunks of 4 MiB, and several reads at once do not mix', async () => {
    const sizes = { big: 9 * MIB + 12, other: 5 * MIB };
    const content = { big: noise(sizes.big, 1), other: noise(sizes.other, 2) };
    const path = join(folder, 'x.safetensors');
    await writeSafetensors({
      path,
      tensors: [{ name: 'big', dtype: 'F32', shape: [sizes.big / 4] }, { name: 'other', dtype: 'F32', shape: [sizes.other / 4] }],
      fill: (name, write) => write(name === 'big' ? content.big : content.other),
    });
    const weights = WeightFiles.openFile(path);
    const [big, other] = await Promise.all([readWhole(weights, 'big'), readWhole(weights, 'other')]);
    expect(big.equals(content.big)).toBe(true);
    expect(other.equals(content.other)).toBe(true);
    await expect(weights.readTensor('none', () => undefined)).rejects.toThrow(/no tensor 'none'/);
    await expect(weights.readTensor('big', () => { throw new Error('mine'); })).rejects.toThrow('mine');
    expect((await readWhole(weights, 'other')).equals(content.other)).toBe(true);
    weights.close();
  }, 60_000);

  it('refuses too few and too many bytes, and leaves no file', async () => {
    const path = join(folder, 'x.safetensors');
    const attempt = (bytes: number): Promise<unknown> => writeSafetensors({ path, tensors: [a], fill: (_, write) => write(new Uint8Array(bytes)) });
    await expect(attempt(7)).rejects.toThrow(/'a' F32 \[2\] has 8 bytes, but only 7 were written/);
    await expect(attempt(9)).rejects.toThrow(/at least 9 were written/);
    await expect(writeSafetensors({ path, tensors: [a, a], fill: () => undefined })).rejects.toThrow(/is taken/);
    await expect(writeSafetensors({ path, tensors: [{ ...a, shape: [-1] }], fill: () => undefined })).rejects.toMatchObject({ code: 'E_SHAPE' });
    expect(existsSync(path)).toBe(false);
  });

  it('does not overwrite, and says where it cannot write', async () => {
    const path = join(folder, 'x.safetensors');
    writeFileSync(path, 'mine');
    await expect(writeSafetensors({ path, tensors: [], fill: () => undefined })).rejects.toThrow(/EEXIST/);
    expect(readFileSync(path, 'utf8')).toBe('mine');
    const lost = join(folder, 'none', 'x.safetensors');
    await expect(writeSafetensors({ path: lost, tensors: [], fill: () => undefined })).rejects.toMatchObject({ code: 'E_FILE', where: lost });
  });

  it('turns a full disk into E_DISK and removes what it wrote', async () => {
    const path = join(folder, 'x.safetensors');
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    await expect(writeSafetensors({ path, tensors: [a], fill: () => { throw full; } })).rejects.toMatchObject({ code: 'E_DISK' });
    expect(existsSync(path)).toBe(false);
  });
});

describe('writeSharded and WeightFiles.open', () => {
  const tensors: readonly TensorToWrite[] = [
    { name: 'a', dtype: 'F32', shape: [10] }, { name: 'b', dtype: 'F32', shape: [10] }, { name: 'c', dtype: 'BF16', shape: [30] }, { name: 'd', dtype: 'U8', shape: [5] },
  ];
  const content = new Map([['a', noise(40, 1)], ['b', noise(40, 2)], ['c', noise(60, 3)], ['d', noise(5, 4)]]);
  const fill = (name: string, write: (chunk: Uint8Array) => void): void => write(content.get(name) ?? Buffer.alloc(0));

  it('makes one file when it fits', async () => {
    const files = await writeSharded({ directory: folder, tensors, fill });
    expect(readdirSync(folder)).toEqual(['model.safetensors']);
    expect(files).toHaveLength(1);
  });

  it('makes shards and an index, which read back as one', async () => {
    const files = await writeSharded({ directory: folder, tensors, fill, maxShardBytes: 80, metadata: { format: 'pt' } });
    expect(readdirSync(folder).sort()).toEqual(['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors.index.json']);
    for (const { path, bytes, sha256 } of files) {
      const data = readFileSync(path);
      expect(data.byteLength).toBe(bytes);
      expect(createHash('sha256').update(data).digest('hex')).toBe(sha256);
    }
    expect(JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8'))).toEqual({
      metadata: { total_size: 145 },
      weight_map: {
        a: 'model-00001-of-00002.safetensors', b: 'model-00001-of-00002.safetensors',
        c: 'model-00002-of-00002.safetensors', d: 'model-00002-of-00002.safetensors',
      },
    });
    const weights = WeightFiles.open(folder);
    expect(weights.metadata).toEqual({ format: 'pt' });
    for (const [name, bytes] of content) expect((await readWhole(weights, name)).equals(bytes)).toBe(true);
    weights.close();
  });

  it('gives a tensor larger than a shard its own', async () => {
    await writeSharded({ directory: folder, tensors, fill, maxShardBytes: 50 });
    expect(readdirSync(folder)).toHaveLength(5);
  });

  it('refuses a broken index', async () => {
    await writeSharded({ directory: folder, tensors, fill, maxShardBytes: 80 });
    const index = join(folder, 'model.safetensors.index.json');
    const good = readFileSync(index, 'utf8');
    const one = 'model-00001-of-00002.safetensors';
    const two = 'model-00002-of-00002.safetensors';
    const cases: [string, RegExp][] = [
      ['{', /not a valid weight index/],
      ['[]', /no weight_map/],
      ['{"weight_map":{}}', /is empty/],
      ['{"weight_map":{"a":3}}', /is said to be in 3/],
      [JSON.stringify({ weight_map: { a: '../secret.safetensors' } }), /not the name of a .safetensors file/],
      [JSON.stringify({ weight_map: { a: '/etc/secret.safetensors' } }), /not the name of a .safetensors file/],
      [JSON.stringify({ weight_map: { a: 'x.bin' } }), /not the name of a .safetensors file/],
      [JSON.stringify({ weight_map: { a: 'none.safetensors' } }), /shard 'none.safetensors' is missing/],
      [JSON.stringify({ weight_map: { a: one, z: two } }), /tensor 'z' is in '.*', but no shard has it/],
      [JSON.stringify({ weight_map: { a: two, b: one } }), /tensor 'a' is in '.*2-of.*', but it is in '.*1-of/],
      [`{"weight_map":{"a":"${one}","a":"${two}"}}`, /'a' occurs twice/],
    ];
    for (const [text, message] of cases) {
      writeFileSync(index, text);
      expect(() => WeightFiles.open(folder)).toThrow(message);
    }
    writeFileSync(index, good);
    writeFileSync(join(folder, two), readFileSync(join(folder, one)));
    expect(() => WeightFiles.open(folder)).toThrow(/and again in/);
    writeFileSync(join(folder, two), readFileSync(join(folder, one)).subarray(0, 100));
    expect(() => WeightFiles.open(folder)).toThrow(/not a valid safetensors file/);
  });

  it('says what to do with pickled weights, and without any', () => {
    expect(() => WeightFiles.open(folder)).toThrow(expect.objectContaining({ code: 'E_MODEL', message: expect.stringMatching(/has no weights/) }));
    mkdirSync(join(folder, 'x'));
    writeFileSync(join(folder, 'x', 'pytorch_model.bin'), '');
    expect(() => WeightFiles.open(join(folder, 'x'))).toThrow(expect.objectContaining({ code: 'E_MODEL', remedy: expect.stringMatching(/safe_serialization/) }));
  });
});
