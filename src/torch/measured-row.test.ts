/** Rows of worker/measure.py as cases to estimate. */

import { describe, expect, it } from 'vitest';
import { GIB } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import { caseOfRow, type MeasuredRow } from './measured-row.ts';

const ROW: MeasuredRow = {
  id: 'w001', model: 'tiny-llama', layers: 4, hidden: 64, heads: 4, kv_heads: 2, ffn: 176, vocab: 512, dtype: 'amp_bf16', optimizer: 'AdamW(foreach)', micro_batch: 4, seq_len: 128, grad_accum: 1,
  checkpointing: 'layers:2', attention: 'sdpa', n_gpu: 1, sharding: 'none', gpu: 'CPU', peak_mem_GiB_per_gpu: 0.5, architecture: 'LlamaForCausalLM', head_dim: 16, tied: false, loss: 'chunked:256',
  reserved_GiB: '', device_GiB: '', context_GiB: '',
};

describe('a measured row', () => {
  it('is read whether its cells are numbers or text', () => {
    const expected = { given: { microBatchSize: 4, rowLength: 128, precision: 'bf16', recompute: { kind: 'layers', layers: 2 }, loss: { kind: 'chunked', tokens: 256 }, optimizerStep: 'foreach' }, measured: { allocatedBytes: 0.5 * GIB } };
    expect(caseOfRow(ROW)).toMatchObject(expected);
    expect(caseOfRow(Object.fromEntries(Object.entries(ROW).map(([key, value]) => [key, value === false ? 'False' : String(value)])))).toEqual(caseOfRow(ROW));
    expect(Object.keys(caseOfRow(ROW)!.measured)).toEqual(['allocatedBytes']);
  });

  it('without a measurement is left out, and one with a value that nobody knows is refused', () => {
    expect(caseOfRow({ ...ROW, peak_mem_GiB_per_gpu: '' })).toBeUndefined();
    for (const change of [{ dtype: 'fp4' }, { optimizer: 'Sophia' }, { checkpointing: 'some' }, { architecture: 'BertModel' }, { layers: 'many' }]) expect(() => caseOfRow({ ...ROW, ...change }), Object.keys(change)[0]).toThrow(FulltuneError);
  });
});
