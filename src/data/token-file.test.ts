import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { recordBytes, TOKEN_FILE_HEADER_BYTES, TokenFile } from './token-file.ts';
import { TokenFileWriter } from './write-token-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-tokens-'));
afterAll(() => { rmSync(folder, { recursive: true }); });

interface Document {
  readonly ids: readonly number[];
  readonly continues: boolean;
}

const maskOf = (ids: readonly number[]): Uint8Array => Uint8Array.from(ids, (id, t) => (t > 0 && id % 3 === 0 ? 1 : 0));

function write(name: string, documents: readonly Document[]): string {
  const path = join(folder, name);
  const writer = new TokenFileWriter(path);
  for (const { ids, continues } of documents) writer.add(ids, maskOf(ids), { continues });
  writer.finish({ name });
  return path;
}

const documents = fc.array(fc.record({ ids: fc.array(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { minLength: 1, maxLength: 30 }), continues: fc.boolean() }), { maxLength: 200 });
const refusal = expect.objectContaining({ code: 'E_FILE' }) as Error;

describe('TokenFile', () => {
  it('gives back what was written, in any order', () => {
    fc.assert(fc.property(documents, (written) => {
      const file = TokenFile.open(write('a.bin', written));
      expect(file.documents).toBe(written.length);
      expect([...file.lengths]).toEqual(written.map(({ ids }) => ids.length));
      expect([...file.trainedCounts]).toEqual(written.map(({ ids }) => maskOf(ids).reduce((a, b) => a + b, 0)));
      for (let i = written.length - 1; i >= 0; i--) {
        const { ids, trained } = file.read(i);
        expect([...ids]).toEqual(written[i]?.ids);
        expect([...trained]).toEqual([...maskOf(written[i]?.ids ?? [])]);
        expect(file.continuesPrevious(i)).toBe(written[i]?.continues);
      }
      expect(file.summary).toEqual({ name: 'a.bin' });
      expect(() => file.read(written.length)).toThrowError(RangeError);
      file.close();
    }), { numRuns: 40 });
  });

  it('selects documents', () => {
    const path = write('b.bin', Array.from({ length: 100 }, (_, i) => ({ ids: Array.from({ length: i + 1 }, () => i), continues: i % 2 === 1 })));
    const file = TokenFile.open(path);
    const odd = file.select(Uint32Array.of(99, 1, 3));
    expect([...odd.lengths]).toEqual([100, 2, 4]);
    expect([...odd.read(2).ids]).toEqual([3, 3, 3, 3]);
    expect(odd.continuesPrevious(0)).toBe(true);
    expect([...odd.select(Uint32Array.of(2, 0)).read(1).ids]).toEqual(Array.from({ length: 100 }, () => 99));
    expect(() => odd.read(3)).toThrowError(RangeError);
    odd.close();
    file.close();
  });

  it('joins files', () => {
    const all = Array.from({ length: 70 }, (_, i) => ({ ids: Array.from({ length: 1 + (i % 9) }, (_, t) => i * 10 + t), continues: i % 5 === 0 }));
    const parts = [all.slice(0, 30), [], all.slice(30)].map((part, i) => TokenFile.open(write(`part${i}.bin`, part)));
    const writer = new TokenFileWriter(join(folder, 'joined.bin'));
    for (const part of parts) writer.append(part);
    writer.finish({ name: 'whole.bin' });
    write('whole.bin', all);
    expect(readFileSync(join(folder, 'joined.bin')).equals(readFileSync(join(folder, 'whole.bin')))).toBe(true);
    for (const part of parts) part.close();
  });

  it('refuses a damaged, truncated or foreign file', () => {
    const path = write('c.bin', Array.from({ length: 20 }, (_, i) => ({ ids: [i, i + 1, i + 2], continues: false })));
    const good = readFileSync(path);
    const bits = [0, 9, 13, 17, 25, 33, TOKEN_FILE_HEADER_BYTES + 20 * recordBytes(3), TOKEN_FILE_HEADER_BYTES + 20 * recordBytes(3) + 90, good.length - 1];
    for (const position of bits) {
      const bad = Buffer.from(good);
      bad[position] = (bad[position] ?? 0) ^ 0x10;
      writeFileSync(path, bad);
      expect(() => TokenFile.open(path), `byte ${position}`).toThrowError(refusal);
    }
    writeFileSync(path, good);
    truncateSync(path, good.length - 5);
    expect(() => TokenFile.open(path)).toThrowError(refusal);
    truncateSync(path, 10);
    expect(() => TokenFile.open(path)).toThrowError(refusal);
    expect(() => TokenFile.open(join(folder, 'none.bin'))).toThrowError(refusal);
  });

  it('refuses a damaged document when it is read, and only that', () => {
    const path = write('d.bin', Array.from({ length: 3 }, (_, i) => ({ ids: [i, 7, 9], continues: false })));
    const good = readFileSync(path);
    for (let offset = 0; offset < recordBytes(3); offset++) {
      const bad = Buffer.from(good);
      const position = TOKEN_FILE_HEADER_BYTES + recordBytes(3) + offset;
      bad[position] = (bad[position] ?? 0) ^ 0x80;
      writeFileSync(path, bad);
      const file = TokenFile.open(path);
      expect([...file.read(0).ids]).toEqual([0, 7, 9]);
      expect(() => file.read(1), `byte ${offset}`).toThrowError(refusal);
      expect([...file.read(2).ids]).toEqual([2, 7, 9]);
      file.close();
    }
  });

  it('leaves nothing behind when it is abandoned', () => {
    const before = readdirSync(folder).length;
    const writer = new TokenFileWriter(join(folder, 'e.bin'));
    writer.add([1, 2], Uint8Array.of(0, 1));
    writer.abandon();
    expect(readdirSync(folder)).toHaveLength(before);
  });
});
