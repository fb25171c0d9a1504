/** `fulltune init DIR --like CONFIG_DIR`: a model with random weights, shaped like another one except for what flags change. */

import { Option } from 'commander';
import { parseBytes } from '../base/bytes.ts';
import type { InitOptions } from '../index.ts';
import { numberFlag } from './checked-flags.ts';
import { formatCount } from './numbers.ts';
import type { ConfigureVerb } from './verb.ts';

type Overrides = NonNullable<InitOptions['overrides']>;
type SizeKey = Exclude<keyof Overrides, 'tie_word_embeddings'>;

/** Attribute of commander's options for each size that may be changed. */
const SIZES = {
  hidden_size: 'hiddenSize',
  intermediate_size: 'intermediateSize',
  num_hidden_layers: 'numHiddenLayers',
  num_attention_heads: 'numAttentionHeads',
  num_key_value_heads: 'numKeyValueHeads',
  head_dim: 'headDim',
  vocab_size: 'vocabSize',
  max_position_embeddings: 'maxPositionEmbeddings',
} as const satisfies Readonly<Record<SizeKey, string>>;

const SIZE_KEYS = Object.keys(SIZES) as readonly SizeKey[];

interface InitFlags extends Readonly<Partial<Record<(typeof SIZES)[SizeKey], number>>> {
  readonly like: string;
  readonly tieWordEmbeddings?: boolean;
  readonly seed?: number;
  readonly dtype?: NonNullable<InitOptions['dtype']>;
  readonly maxShardSize?: number;
}

export const configureInit: ConfigureVerb = (command, { terminal, loadEngine }, run) => {
  command
    .argument('<directory>', 'folder to make; it must not exist, or be empty')
    .requiredOption('--like <directory>', 'folder whose config.json and tokenizer files are taken');
  for (const key of SIZE_KEYS) {
    command.option(`--${key.replaceAll('_', '-')} <n>`, `${key} of config.json (default: that of --like)`, numberFlag({ least: 1, most: 2 ** 31 - 1, whole: true }));
  }
  command
    .option('--tie-word-embeddings', 'the head is the transposed embedding (default: as in --like)')
    .option('--no-tie-word-embeddings', 'the head has weights of its own')
    .option('--seed <n>', 'seed of the weights (default: 42)', numberFlag({ least: 0, most: 4_294_967_295, whole: true }))
    .addOption(new Option('--dtype <word>', 'element type of the weights (default: float32)').choices(['float32', 'bfloat16', 'float16']))
    .option('--max-shard-size <bytes>', 'largest file, such as 2GB (default: 5GB)', (text: string) => parseBytes(text, '--max-shard-size'))
    .action((directory: string) => run(async () => {
      const flags = command.opts<InitFlags>();
      const sizes = SIZE_KEYS.flatMap((key) => (flags[SIZES[key]] === undefined ? [] : [[key, flags[SIZES[key]]] as const]));
      const overrides: Overrides = { ...Object.fromEntries(sizes), ...(flags.tieWordEmbeddings === undefined ? {} : { tie_word_embeddings: flags.tieWordEmbeddings }) };
      const { initModel } = await loadEngine();
      const { parameters, files } = await initModel({
        directory, like: flags.like, overrides,
        ...(flags.seed === undefined ? {} : { seed: flags.seed }),
        ...(flags.dtype === undefined ? {} : { dtype: flags.dtype }),
        ...(flags.maxShardSize === undefined ? {} : { maxShardBytes: flags.maxShardSize }),
      });
      terminal.write(`${formatCount(parameters)} random parameters in ${directory}: ${files.join(', ')}\n`);
      return 0;
    }));
};
