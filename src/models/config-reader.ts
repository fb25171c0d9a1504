/**
 * Reads the keys of one JSON object, each through the check that fits it, and remembers which were read, so that what nobody knows is
 * refused by name instead of being dropped. Messages name the key and its value.
 */

import { FulltuneError, nearest } from '../base/errors.ts';

/** Larger sizes are mistakes: shapes are counted exactly only below this. */
const LARGEST_SIZE = 2 ** 31 - 1;

export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

export class ConfigReader {
  private readonly entries: ReadonlyMap<string, unknown>;
  private readonly where: string;
  private readonly asked = new Set<string>();

  /** `where`: the file (and key) that messages point to. */
  constructor(json: unknown, where: string) {
    if (typeof json !== 'object' || json === null || Array.isArray(json)) {
      throw new FulltuneError('E_MODEL', `a JSON object was expected, found ${shown(json)}`, { where });
    }
    this.entries = new Map(Object.entries(json));
    this.where = where;
  }

  fail(message: string, remedy?: string): never {
    throw new FulltuneError('E_MODEL', message, { where: this.where, ...(remedy === undefined ? {} : { remedy }) });
  }

  has(key: string): boolean {
    this.asked.add(key);
    return this.entries.has(key);
  }

  /** The value as it stands; undefined when absent. */
  raw(key: string): unknown {
    this.asked.add(key);
    return this.entries.get(key);
  }

  /** As `raw`, with null taken as absent. */
  private present(key: string): unknown {
    return this.raw(key) ?? undefined;
  }

  /** A positive integer. */
  size(key: string, fallback: number): number {
    return this.optionalSize(key) ?? fallback;
  }

  /** A positive integer, or undefined when absent or null. */
  optionalSize(key: string): number | undefined {
    const value = this.present(key);
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > LARGEST_SIZE) {
      this.fail(`${key} is ${shown(value)}; it must be a positive integer`);
    }
    return value;
  }

  /** A finite number ≥ `least`. */
  number(key: string, fallback: number | undefined, least: number): number {
    const value = this.present(key) ?? fallback;
    if (value === undefined) this.fail(`${key} is missing`);
    if (typeof value !== 'number' || !Number.isFinite(value) || value < least) {
      this.fail(`${key} is ${shown(value)}; it must be a number ≥ ${least}`);
    }
    return value;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.present(key) ?? fallback;
    if (typeof value !== 'boolean') this.fail(`${key} is ${shown(value)}; it must be true or false`);
    return value;
  }

  /** One of `allowed`, by name. */
  choice<T extends string>(key: string, allowed: readonly T[], fallback: T): T {
    const value = this.present(key) ?? fallback;
    const found = allowed.find((name) => name === value);
    if (found === undefined) this.fail(`${key} ${shown(value)} is not supported`, `Supported: ${allowed.join(', ')}.`);
    return found;
  }

  /** A token id; absent, null and the negative ids of old files mean that there is none. */
  tokenId(key: string, fallback?: number): number | undefined {
    const value = this.has(key) ? this.present(key) : fallback;
    return value === undefined ? undefined : this.checkedId(key, value);
  }

  /** One token id, a list of them, or none. */
  tokenIds(key: string, fallback?: number): readonly number[] {
    const value = this.has(key) ? this.present(key) : fallback;
    if (value === undefined) return [];
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    return list.map((id) => this.checkedId(key, id)).filter((id) => id !== undefined);
  }

  private checkedId(key: string, value: unknown): number | undefined {
    if (typeof value !== 'number' || !Number.isInteger(value)) this.fail(`${key} is ${shown(value)}; it must be a token id`);
    return value < 0 ? undefined : value;
  }

  /** A nested object under `key`; undefined when absent, null or empty. */
  nested(key: string): ConfigReader | undefined {
    const value = this.present(key);
    if (value === undefined) return undefined;
    const inner = new ConfigReader(value, `${this.where}, ${key}`);
    return inner.entries.size === 0 ? undefined : inner;
  }

  /** Accepts `key` only with one of `values` (or null): another value would mean a model that is not built here. */
  only(key: string, values: readonly unknown[], meaning: string): void {
    const value = this.present(key);
    if (value === undefined) return;
    const text = JSON.stringify(value);
    if (!values.some((allowed) => JSON.stringify(allowed) === text)) this.fail(`${key} is ${shown(value)}: ${meaning}`);
  }

  /** Refuses every key that was not asked for and is not in `harmless`, naming the nearest known one. */
  finish(harmless: ReadonlySet<string>): void {
    const known = new Set([...harmless, ...this.asked]);
    for (const [key, value] of this.entries) {
      if (known.has(key)) continue;
      const near = nearest(key, known);
      this.fail(
        `the key ${key} (${shown(value)}) is not known for this kind of model, so it cannot be said what it changes`,
        near === undefined ? `Remove ${key} if it does not change the model.` : `Did you mean ${near}?`,
      );
    }
  }
}
