/** One row of a dataset, read and checked but not yet tokenised: what every accepted column layout comes down to. */

export interface ChatMessage {
  readonly role: string;
  /** Absent where the row had null, as chat templates expect it. */
  readonly content?: string;
  /** Everything else that the row had: `tool_calls`, `name`, `reasoning_content` … goes to the template as it is. */
  readonly [key: string]: unknown;
}

/** Learned as a whole. */
export interface TextDocument {
  readonly kind: 'text';
  readonly text: string;
}

/** Only `completion` is learned. */
export interface CompletionDocument {
  readonly kind: 'completion';
  readonly prompt: string;
  readonly completion: string;
}

/** Only the assistant turns in `trained` are learned. */
export interface ChatDocument {
  readonly kind: 'chat';
  readonly messages: readonly ChatMessage[];
  /** One flag per message: an assistant turn that is learned. */
  readonly trained: readonly boolean[];
  readonly tools: readonly unknown[] | undefined;
}

/** Already tokens; `labels` as in transformers: aligned with `ids`, -100 where nothing is learned. */
export interface TokenDocument {
  readonly kind: 'tokens';
  readonly ids: readonly number[];
  readonly labels: readonly number[] | undefined;
}

export type SourceDocument = TextDocument | CompletionDocument | ChatDocument | TokenDocument;
