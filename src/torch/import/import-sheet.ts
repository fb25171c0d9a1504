/** Where the rules of an import write: our keys, and for every key of theirs what became of it. */

import { checkValue, type ConfigKey } from '../../run/config-schema.ts';
import { FulltuneError } from '../../base/errors.ts';

export interface Translated {
  /** `micro_batch_size 2`. */
  readonly from: string;
  /** `per_device_train_batch_size 2`. */
  readonly to: string;
}

export interface Ignored {
  readonly key: string;
  readonly reason: string;
}

export class ImportSheet {
  readonly config = new Map<ConfigKey, unknown>();
  readonly translated: Translated[] = [];
  /** Defaults of their trainer that differ from ours. */
  readonly assumed: Translated[] = [];
  readonly ignored: Ignored[] = [];
  /** Keys that are off or empty: nothing to translate. */
  readonly off: string[] = [];
  /** Their file. */
  readonly where: string;
  private readonly title: string;

  constructor(where: string, title: string) {
    this.where = where;
    this.title = title;
  }

  /** Throws E_CONFIG when the value is none that our key takes. */
  translate(from: string, value: unknown, key: ConfigKey, as: unknown = value): void {
    try {
      checkValue(key, as, this.where);
    } catch (error) {
      if (!(error instanceof FulltuneError)) throw error;
      throw new FulltuneError('E_CONFIG', `${from} of ${this.title} is ${short(value)}: ${error.message}`, { where: this.where, remedy: 'Correct it, or leave it out.' });
    }
    this.config.set(key, as);
    this.translated.push({ from: `${from} ${short(value)}`, to: `${key} ${short(as)}` });
  }

  /** Means the same here without a key. */
  say(from: string, to: string): void {
    this.translated.push({ from, to });
  }

  /** Off or empty. */
  leave(from: string): void {
    this.off.push(from);
  }

  assume(from: string, value: unknown, key: ConfigKey, as: unknown = value): void {
    if (this.config.has(key)) return;
    this.config.set(key, as);
    this.assumed.push({ from: `${from} ${short(value)}`, to: `${key} ${short(as)}` });
  }

  /** Takes back what an earlier key said. */
  drop(key: ConfigKey, reason: string): void {
    if (!this.config.delete(key)) return;
    const saysIt = ({ to }: Translated): boolean => to.startsWith(`${key} `);
    for (const { from } of this.translated.filter(saysIt)) this.ignore(from, reason);
    for (const list of [this.translated, this.assumed]) list.splice(0, list.length, ...list.filter((entry) => !saysIt(entry)));
  }

  ignore(from: string, reason: string): void {
    this.ignored.push({ key: from, reason });
  }

  refuse(what: string, remedy: string): never {
    throw new FulltuneError('E_CONFIG', `${what}: fulltune does full supervised fine-tuning only`, { where: this.where, remedy });
  }
}

export function short(value: unknown): string {
  if (typeof value === 'number' && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential();
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** What becomes of one key of theirs; `all` is their whole config. */
export type ImportRule = (value: unknown, sheet: ImportSheet, from: string, all: Readonly<Record<string, unknown>>) => void;

export type ImportRules = Readonly<Record<string, ImportRule>>;

/** The same value under our name. */
export function to(key: ConfigKey, as: (value: unknown) => unknown = (value) => value): ImportRule {
  return (value, sheet, from) => sheet.translate(from, value, key, as(value));
}

export function ignored(reason: string): ImportRule {
  return (value, sheet, from) => sheet.ignore(`${from} ${short(value)}`, reason);
}

/** A number, also where YAML 1.1 would have made one: `1e-4` in quotes. */
export function numeric(value: unknown): unknown {
  return typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value;
}
