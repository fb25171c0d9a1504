/**
 * Text from tokens that come one by one, for `generate`: nothing is given out while the newest tokens may still be a part of a UTF-8
 * character. Decoding starts again from the last settled token, because a token's text can depend on what stands before it (a leading
 * space, a byte of a longer character).
 */
export class DecodeStream {
  private readonly decode: (ids: readonly number[]) => string;
  private ids: number[] = [];
  /** `ids` before this index have been given out; the text of `ids` up to it is `settledText`. */
  private settled = 0;
  private settledText = '';

  constructor(decode: (ids: readonly number[]) => string) {
    this.decode = decode;
  }

  /** The text that has become certain with this token; empty when none has. */
  push(id: number): string {
    this.ids.push(id);
    const text = this.decode(this.ids);
    if (text.endsWith('\ufffd') && this.ids.length - this.settled < LONGEST_WAIT) return '';
    const fresh = text.slice(this.settledText.length);
    // Keep one settled token as context, so that the next one is decoded as following it.
    this.ids = this.ids.slice(this.settled);
    this.settled = this.ids.length;
    this.settledText = this.decode(this.ids);
    return fresh;
  }

  /** What is left at the end of a text, half characters as U+FFFD. */
  end(): string {
    const fresh = this.ids.length === 0 ? '' : this.decode(this.ids).slice(this.settledText.length);
    this.ids = [];
    this.settled = 0;
    this.settledText = '';
    return fresh;
  }
}

/** A UTF-8 character has at most 4 bytes, hence at most 4 tokens; a longer run is text that really holds U+FFFD. */
const LONGEST_WAIT = 5;
