/** What the rest of the program asks of a tokenizer. */

import type { DecodeStream } from './decode-stream.ts';
import type { ChatMessage } from './source-document.ts';
import type { TokenReading } from './token-bytes.ts';

export interface Tokenizer {
  /** Token ids; `addSpecialTokens` applies the tokenizer's own post-processor (BOS for Llama, nothing for GPT-2 and Qwen). */
  encode(text: string, options: { readonly addSpecialTokens: boolean }): number[];
  /** Special tokens are shown unless `skipSpecialTokens`. */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** A conversation by the model's own chat template, up to where the assistant answers. Errors: E_TEMPLATE. */
  encodeChat(messages: readonly ChatMessage[], options?: { readonly tools?: readonly unknown[] }): number[];
  /** Special tokens give no text. */
  decodeStream(): DecodeStream;
  /** UTF-8 bytes of a token, or undefined when the vocabulary has no such reading. */
  tokenBytes(id: number): Uint8Array | undefined;
  idOf(token: string): number | undefined;
  /** Added to the vocabulary as a whole, such as `<|im_end|>`. */
  isAdded(id: number): boolean;
  readonly reading: TokenReading;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  /** `bos_token`, `eos_token`, `pad_token` … as chat templates name them. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** The model's own template, `default` if it has several. */
  readonly chatTemplate: string | undefined;
  /** The tokens that end an assistant's turn in the model's own chat template; empty without one. */
  readonly endOfTurnIds: readonly number[];
  /** Largest id + 1. */
  readonly size: number;
}
