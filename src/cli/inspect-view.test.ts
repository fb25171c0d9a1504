import { describe, expect, it } from 'vitest';
import type { DataInspection, ModelInspection } from '../index.ts';
import { PLAIN } from './colour.ts';
import { renderDoctor } from './doctor.ts';
import { renderData, renderModel } from './inspect-view.ts';

describe('renderData', () => {
  it('shows rows with trained tokens marked, and counts', () => {
    const inspection: DataInspection = {
      statistics: { rows: 12, documents: 10, tokens: 1000, trainedTokens: 400, cut: 1, cutTokens: 25, split: 0, untrained: 2, longest: 150 },
      maxLength: 128, maxLengthReason: 'as set',
      rows: [{
        document: 0, tokens: 5, trainedTokens: 2, ids: new Int32Array(5), trained: new Uint8Array(5),
        pieces: [{ text: 'Q: why?\nA:', trained: false }, { text: ' so\n', trained: true }],
      }],
      notices: ['2 documents are left out'],
    };
    expect(renderData(inspection, PLAIN)).toBe(`\
trained tokens are in ‹ ›

document 0  5 tokens, 2 trained
  Q: why?
  A:‹ so
  ›

rows of the file     12
documents            10
tokens            1,000  100 per document
trained             400  40 %
longest row         150  tokens
cut off               1  rows, 25 tokens lost
split                 0
left out              2  documents without a trained token
max_length          128  as set

note  2 documents are left out
`);
  });
});

describe('renderModel', () => {
  const tensor = (name: string, shape: readonly number[]) => ({ name, shape, dtype: 'BF16', bytes: shape.reduce((a, b) => a * b, 2) });
  const inspection = {
    path: 'models/small',
    config: { modelType: 'llama', layers: 2, width: 4, heads: 2, keyValueHeads: 1, vocabularySize: 1000, maxPositions: 2048, tiedHead: false },
    parameters: 4048,
    tensors: [tensor('model.embed_tokens.weight', [1000, 4]), tensor('model.layers.0.up.weight', [6, 4]), tensor('model.layers.1.up.weight', [6, 4])],
    notices: [],
  } as unknown as ModelInspection;

  it('folds the layers into one line per kind', () => {
    expect(renderModel(inspection, PLAIN, { grouped: true })).toBe(`\
model       models/small
type        llama, 2 layers, width 4, 2 heads, 1 key/value heads
vocabulary  1,000
positions   2,048
head        weights of its own

tensor                          shape      dtype  parameters    bytes
─────────────────────────  ───  ─────────  ─────  ──────────  ───────
model.embed_tokens.weight       [1000, 4]  BF16        4,000  7.8 KiB
model.layers.*.up.weight   × 2  [6, 4]     BF16           48     96 B
total                                                  4,048  7.9 KiB
`);
  });

  it('lists every tensor where asked', () => {
    expect(renderModel(inspection, PLAIN, { grouped: false })).toContain('model.layers.1.up.weight');
  });
});

describe('renderDoctor', () => {
  it('puts the remedy under what fails', () => {
    const checks = [{ name: 'Node', ok: true, detail: '20.1.0' }, { name: 'kernels', ok: false, detail: 'no compiler', remedy: 'Install cc.' }];
    expect(renderDoctor({ checks }, PLAIN)).toBe('ok     Node     20.1.0\nFAILS  kernels  no compiler\n                Install cc.\n');
  });
});
