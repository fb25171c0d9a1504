/** Where a trainer's rules write: keys with values, and what does not translate, so that nothing is dropped without a word. */

export type Value = string | number | boolean | null | readonly Value[] | { readonly [key: string]: Value };

/** A setting that the other trainer cannot follow. */
export interface Untranslated {
  /** As in the config or the plan: `overlong split`. */
  readonly setting: string;
  readonly reason: string;
  /** What the other trainer does, or what to do. */
  readonly instead: string;
}

export class Sheet {
  readonly values = new Map<string, Value>();
  readonly untranslated: Untranslated[] = [];
  /** Settings that belong into another file or script. */
  readonly elsewhere: string[] = [];

  /** A dot leads into a section: `zero_optimization.stage`. */
  set(key: string, value: Value): void {
    this.values.set(key, value);
  }

  lost(setting: string, reason: string, instead: string): void {
    this.untranslated.push({ setting, reason, instead });
  }

  /** The values with their sections as objects. */
  nested(): Readonly<Record<string, Value>> {
    const root: Record<string, Value> = {};
    for (const [path, value] of this.values) {
      const names = path.split('.');
      let at = root;
      for (const name of names.slice(0, -1)) at = (at[name] ??= {}) as Record<string, Value>;
      at[names.at(-1)!] = value;
    }
    return root;
  }
}
