/** Which layers look back only so far: the keys that Mistral, Qwen2 and Qwen3 have for it. */

import { shown, type ConfigReader } from './config-reader.ts';
import type { LlamaType } from './families.ts';

/** Default window of Mistral, Qwen2 and Qwen3 when the key is absent (null: no window). */
const DEFAULT_WINDOW = 4096;

const LAYER_TYPES: readonly unknown[] = ['full_attention', 'sliding_attention'];

/** The window of the layers that have one, in tokens (the token itself included); undefined when every layer sees the whole row. */
export function readSlidingWindow(reader: ConfigReader, type: LlamaType, layers: number): number | undefined {
  const window = reader.optionalSize('sliding_window');
  switch (type) {
    case 'llama':
      return window; // LlamaConfig has none; one that is given means a model that looks less far
    case 'mistral':
      reader.only('layer_types', LAYER_TYPES.map((name) => Array.from({ length: layers }, () => name)), 'Mistral has layers of one type');
      return reader.has('sliding_window') ? window : DEFAULT_WINDOW;
    case 'qwen2':
    case 'qwen3': {
      const used = reader.flag('use_sliding_window', false);
      const firstWindowed = reader.number('max_window_layers', 28, 0);
      const types = readLayerTypes(reader, layers);
      const windowed = types === undefined ? firstWindowed < layers : types.includes('sliding_attention');
      return used && windowed ? (reader.has('sliding_window') ? window : DEFAULT_WINDOW) : undefined;
    }
    default:
      return type satisfies never;
  }
}

function readLayerTypes(reader: ConfigReader, layers: number): readonly unknown[] | undefined {
  const types = reader.raw('layer_types') ?? undefined;
  if (types === undefined) return undefined;
  if (!Array.isArray(types) || types.length !== layers) {
    reader.fail(`layer_types is ${shown(types)}; it must name one type for each of the ${layers} layers`);
  }
  const other: unknown = types.find((type) => !LAYER_TYPES.includes(type));
  if (other !== undefined) reader.fail(`layer_types has ${shown(other)}, which is not supported`, `Supported: ${LAYER_TYPES.join(', ')}.`);
  return types;
}
