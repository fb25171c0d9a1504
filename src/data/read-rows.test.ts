import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { sharedPath } from '../testing/shared.ts';
import { datasetKind, defaultOverlong, readRows } from './read-rows.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-rows-'));
afterAll(() => { rmSync(folder, { recursive: true }); });

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const values = (path: string): readonly unknown[] => [...readRows(path)].map((row) => row.value);
const places = (path: string): readonly string[] => [...readRows(path)].map((row) => row.where.slice(folder.length + 1));
const refusal = (parts: Record<string, unknown>): Error => expect.objectContaining({ code: 'E_DATA', ...parts }) as Error;

describe('JSON lines', () => {
  it('tolerates CRLF, a byte-order mark, empty lines and a missing last line break', () => {
    const path = file('a.jsonl', '\ufeff{"a":1}\r\n\r\n   \n{"a":"ü🦙"}\n{"a":3}');
    expect(values(path)).toEqual([{ a: 1 }, { a: 'ü🦙' }, { a: 3 }]);
    expect(places(path)).toEqual(['a.jsonl:1', 'a.jsonl:4', 'a.jsonl:5']);
  });

  it('names the line of broken JSON and of broken UTF-8', () => {
    expect(() => values(file('b.jsonl', '{"a":1}\n\n{"a":\n'))).toThrowError(refusal({ where: join(folder, 'b.jsonl:3') }));
    expect(() => values(file('c.jsonl', Buffer.concat([Buffer.from('{"a":1}\n{"a":"'), Buffer.of(0xff), Buffer.from('"}\n')])))).toThrowError(
      refusal({ where: join(folder, 'c.jsonl:2'), message: 'not valid UTF-8' }),
    );
  });

  it('reads lines longer than a chunk', () => {
    const long = 'x'.repeat(700_000);
    expect(values(file('d.jsonl', `{"a":"${long}"}\n{"a":"é${long}"}\n`))).toEqual([{ a: long }, { a: `é${long}` }]);
  });

  it('gives every line to exactly one slice, with its line number', () => {
    fc.assert(fc.property(fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 6 }), fc.boolean(), (widths, slices, ends) => {
      const path = file('e.jsonl', widths.map((width, i) => (width === 0 ? '' : `["${i}${'y'.repeat(width)}"]`)).join('\n') + (ends ? '\n' : ''));
      const { size } = statSync(path);
      if (size === 0) return;
      const rows = Array.from({ length: slices }, (_, i) => [...readRows(path, { slice: { start: Math.floor((size * i) / slices), end: Math.floor((size * (i + 1)) / slices) } })]).flat();
      const whole = [...readRows(path)];
      expect(rows.map(({ value, where }) => [value, where])).toEqual(whole.map(({ value, where }) => [value, where]));
    }));
  });
});

describe('JSON arrays', () => {
  it('are read as an array or under data', () => {
    expect(values(file('a.json', '[{"a":1},{"a":2}]'))).toEqual([{ a: 1 }, { a: 2 }]);
    const path = file('b.json', '\ufeff{"data":[{"a":1}]}');
    expect(values(path)).toEqual([{ a: 1 }]);
    expect(places(path)).toEqual(['b.json, row 1']);
  });

  it('refuses what is neither, and broken JSON', () => {
    expect(() => values(file('c.json', '{"rows":[]}'))).toThrowError(refusal({}));
    expect(() => values(file('d.json', '{"a":1}\n{"a":2}\n'))).toThrowError(refusal({ remedy: expect.stringContaining('.jsonl') as unknown }));
  });
});

describe('text', () => {
  it('is one document without separators', () => {
    expect(values(file('a.txt', 'one\r\n\r\ntwo\n'))).toEqual([{ text: 'one\n\ntwo' }]);
  });

  it('is split at <|endoftext|> or the EOS on a line of its own', () => {
    const path = file('b.txt', 'one\nmore\n<|endoftext|>\n\ntwo </s> two\n </s> \n<|endoftext|>\nthree');
    expect([...readRows(path, { eosToken: '</s>' })].map((row) => row.value)).toEqual([{ text: 'one\nmore' }, { text: 'two </s> two' }, { text: 'three' }]);
    expect(values(path)).toEqual([{ text: 'one\nmore' }, { text: 'two </s> two\n </s> ' }, { text: 'three' }]);
    expect(places(path)).toEqual(['b.txt:1', 'b.txt:4', 'b.txt:8']);
  });

  it('gives the same documents as the JSON lines made from it', () => {
    expect(values(sharedPath('datasets/tinystories_sample.txt'))).toEqual(values(sharedPath('datasets/tinystories_sample.jsonl')));
  });
});

describe('datasetKind', () => {
  it('refuses a missing file, a folder, an empty file and an unknown ending', () => {
    expect(() => datasetKind(join(folder, 'none.jsonl'))).toThrowError(refusal({}));
    expect(() => datasetKind(folder)).toThrowError(refusal({ message: expect.stringContaining('folder') as unknown }));
    expect(() => datasetKind(file('empty.jsonl', ''))).toThrowError(refusal({ message: 'the dataset is empty: the file has 0 bytes' }));
    expect(() => datasetKind(file('a.csv', 'a,b'))).toThrowError(refusal({ message: expect.stringContaining('.csv') as unknown }));
  });

  it('splits long text files by default and cuts others', () => {
    expect([defaultOverlong('x/a.TXT'), defaultOverlong('a.jsonl')]).toEqual(['split', 'truncate']);
  });
});
