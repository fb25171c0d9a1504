/** Readers for flags that are not keys of RunConfig. Errors name flag, value and limit. */

import { InvalidArgumentError } from 'commander';

export interface NumberLimits {
  readonly least: number;
  readonly most: number;
  readonly whole?: boolean;
  /** `least` itself is refused. */
  readonly aboveLeast?: boolean;
}

/** A commander argParser for a number within limits. */
export function numberFlag({ least, most, whole = false, aboveLeast = false }: NumberLimits): (text: string) => number {
  return (text) => {
    const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    const inside = value >= least && value <= most && !(aboveLeast && value === least) && (!whole || Number.isInteger(value));
    if (!inside) throw new InvalidArgumentError(`It must be a ${whole ? 'whole ' : ''}number ${aboveLeast ? `above ${least}, at most` : `from ${least} to`} ${most}.`);
    return value;
  };
}
