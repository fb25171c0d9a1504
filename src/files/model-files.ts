/** What belongs to a model besides its weights and config.json: tokenizer, chat template, generation defaults, licence, model card. */

import { chmodSync, existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';

import { formatBytes } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import { CHECKSUMS_FILE } from './checkpoint.ts';
import { fileError } from './fs-errors.ts';

const MAX_BYTES = 100_000_000;
/** Weights in any format, and the state of trainers. */
const WEIGHTS = /\.(safetensors|bin|pt|pth|ckpt|gguf|ggml|h5|msgpack|onnx|onnx_data|npz|tflite|index\.json)$/i;
const OURS = new Set(['config.json', CHECKSUMS_FILE, 'trainer_state.json']);

export interface CopiedModelFiles {
  readonly copied: readonly string[];
  /** Files left out for their size, with the reason, to be told to the user. */
  readonly skipped: readonly string[];
}

/**
 * Copies every regular file of the folder `from` that is neither weights, config.json, hidden nor above 100 MB, byte for byte; sub-folders are not
 * copied. Links are followed inside the folder, or inside the repository of the Hugging Face cache that it belongs to; one that leads
 * elsewhere is E_MODEL, for its content would be published with the model.
 */
export async function copyModelFiles(from: string, to: string): Promise<CopiedModelFiles> {
  const copied: string[] = [];
  const skipped: string[] = [];
  try {
    const allowed = allowedRoot(from);
    for (const name of readdirSync(from).sort()) {
      const path = join(from, name);
      if (name.startsWith('.') || WEIGHTS.test(name) || OURS.has(name) || !existsSync(path)) continue; // a link to nothing does not exist
      const stats = statSync(path);
      if (!stats.isFile()) continue;
      const real = realpathSync(path);
      if (!real.startsWith(allowed + sep)) {
        throw new FulltuneError('E_MODEL', `'${path}' is a link to '${real}', outside the model's folder`, {
          where: path, remedy: 'Replace the link by the file itself, or remove it.',
        });
      }
      if (stats.size > MAX_BYTES) {
        skipped.push(`${name} (${formatBytes(stats.size)}) was not copied: it is above 100 MB`);
        continue;
      }
      await copyFile(real, join(to, name));
      chmodSync(join(to, name), 0o644); // the source may be read-only, and a caller may replace its copy
      copied.push(name);
    }
  } catch (error) {
    throw fileError(error, 'copy', from);
  }
  return { copied, skipped };
}

/** The folder itself, or the whole `models--org--name` when it is a snapshot there, whose files are links to `blobs/`. */
function allowedRoot(folder: string): string {
  const real = realpathSync(folder);
  const repository = dirname(dirname(real));
  return basename(dirname(real)) === 'snapshots' && basename(repository).startsWith('models--') ? repository : real;
}
