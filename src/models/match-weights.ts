/** Finds each parameter among the tensors of a weights file, whichever of the spellings in use the file has, and refuses what does not fit. */

import { FulltuneError } from '../base/errors.ts';
import { sameShape, type Shape } from '../graph/shape.ts';
import type { ModelConfig } from './model-config.ts';
import { parameterList } from './parameters.ts';

/** What a weights file says of a tensor; `dtype` as safetensors spells it. */
export interface FileTensor {
  readonly dtype: string;
  readonly shape: Shape;
}

const ACCEPTED_DTYPES: readonly string[] = ['F32', 'BF16', 'F16'];

/** Causal masks and rotary tables that old versions of transformers stored. */
const BUFFERS: readonly RegExp[] = [/(^|\.)attn\.(bias|masked_bias)$/, /(^|\.)rotary_emb\.inv_freq$/];

/** Names printed before "and n more". */
const NAMED = 4;

/**
 * Parameter name → name of its tensor in the file. A missing or present `model.` / `transformer.` prefix, a stored copy of a tied head
 * and stored buffers are passed over. Throws `E_MODEL` naming the first missing, left over, misshaped and unreadable tensors.
 */
export function matchWeights(config: ModelConfig, tensors: ReadonlyMap<string, FileTensor>, where = 'weights'): ReadonlyMap<string, string> {
  const prefix = config.kind === 'gpt2' ? 'transformer.' : 'model.';
  const matches = new Map<string, string>();
  const missing: string[] = [];
  const misfits: string[] = [];
  const left = new Set(tensors.keys());
  for (const { name, shape } of parameterList(config)) {
    const bare = name.startsWith(prefix) ? name.slice(prefix.length) : name;
    const found = [name, bare].find((spelling) => tensors.has(spelling));
    const tensor = found === undefined ? undefined : tensors.get(found);
    if (found === undefined || tensor === undefined) {
      missing.push(`${name} [${shape.join(', ')}]`);
      continue;
    }
    left.delete(found);
    if (!sameShape(tensor.shape, shape)) {
      misfits.push(`${found} is [${tensor.shape.join(', ')}], config.json makes it [${shape.join(', ')}]`);
    } else if (!ACCEPTED_DTYPES.includes(tensor.dtype)) {
      misfits.push(`${found} has dtype ${tensor.dtype}, accepted are ${ACCEPTED_DTYPES.join(', ')}`);
    }
    matches.set(name, found);
  }
  const extra = [...left].filter((name) => !isIgnored(name, config)).map((name) => `${name} [${tensors.get(name)?.shape.join(', ') ?? ''}]`);
  const problems = [
    ...(missing.length > 0 ? [`missing: ${listed(missing)}`] : []),
    ...(extra.length > 0 ? [`not part of this model: ${listed(extra)}`] : []),
    ...(misfits.length > 0 ? [`not as expected: ${listed(misfits)}`] : []),
  ];
  if (problems.length > 0) {
    throw new FulltuneError('E_MODEL', `the weights do not fit config.json; ${problems.join('; ')}`, {
      where, remedy: 'Check that weights and config.json belong together.',
    });
  }
  return matches;
}

function isIgnored(name: string, config: ModelConfig): boolean {
  return (config.tiedHead && name === 'lm_head.weight') || BUFFERS.some((pattern) => pattern.test(name));
}

function listed(items: readonly string[]): string {
  const named = items.slice(0, NAMED).join(', ');
  return items.length > NAMED ? `${named} and ${items.length - NAMED} more` : named;
}
