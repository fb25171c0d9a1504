/** How fast text becomes tokens, in one process, and documents become rows. */

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packRows } from '../../dist/data/packing.js';
import { TokenFile } from '../../dist/data/token-file.js';
import { tokeniseDataset } from '../../dist/data/tokenise-dataset.js';
import { rateLine } from '../support/lines.js';

const shared = fileURLToPath(new URL('../../../shared/', import.meta.url));
/** SmolLM2's tokenizer is of GPT-2's kind. */
const JOBS = [
  ['gpt2-tokenizer', 'tinyshakespeare.txt', 50257], ['qwen2-tokenizer', 'tinyshakespeare.txt', 151936], ['qwen2-tokenizer', 'gsm8k_train_messages.jsonl', 151936],
];
const DOCUMENTS = 200_000;
const ROW = 2048;

/** @param {import('../support/options.js').Options} options */
export async function data({ rounds }) {
  const scratch = mkdtempSync(join(tmpdir(), 'fulltune-data-'));
  const lines = [];
  try {
    for (const [tokenizer, dataset, vocabularySize] of JOBS) {
      const datasetPath = join(shared, 'datasets', dataset);
      const times = [];
      const tokenFilePath = join(scratch, 'tokens');
      for (let round = -1; round < rounds; round++) {
        const started = performance.now();
        await tokeniseDataset({
          datasetPath, modelDirectory: join(shared, 'models', tokenizer), tokenFilePath, chatTemplate: null, trainOnInputs: true, overlong: 'split', longestTokens: 1024, vocabularySize, slice: null,
        });
        if (round >= 0) times.push(performance.now() - started);
      }
      const file = TokenFile.open(tokenFilePath);
      const { tokens } = file.summary.counts;
      file.close();
      lines.push(rateLine(`${tokenizer}, ${dataset}`, statSync(datasetPath).size / 1e6, 'MB/s', times, `${Math.round((tokens / Math.min(...times)))} thousand tokens/s at best`));
    }
    // Lengths spread over two orders of magnitude, as those of conversations.
    const lengths = Uint32Array.from({ length: DOCUMENTS }, (_, i) => Math.min(ROW, Math.ceil(20 * Math.exp(4.5 * Math.abs(Math.sin(i * 12.9898))))));
    const times = [];
    for (let round = -1; round < rounds; round++) {
      const started = performance.now();
      packRows(lengths, ROW);
      if (round >= 0) times.push(performance.now() - started);
    }
    lines.push(rateLine(`packing into rows of ${ROW}`, DOCUMENTS / 1000, 'thousand documents/s', times));
    return lines;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
