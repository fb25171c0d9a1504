/** What a worker needs of a Python, what is missing, and the command that installs it. */

import type { TorchPlan } from '../run/torch-plan.ts';
import type { PythonProbe } from './python.ts';

type PackageName = keyof PythonProbe['packages'];

/** Lowest major and minor version; the same as in worker/pyproject.toml. */
const REQUIRED: Readonly<Partial<Record<PackageName, readonly [number, number]>>> = { torch: [2, 11], transformers: [5, 0], safetensors: [0, 5], numpy: [1, 26] };
const OLDEST_PYTHON: readonly [number, number] = [3, 11];

export interface Requirement {
  readonly name: PackageName | 'Python';
  /** Installed version; null: none. */
  readonly found: string | null;
  readonly needed: string;
  readonly ok: boolean;
}

/** Python and every package, those that `plan` alone needs among them. */
export function requirements({ python, packages }: PythonProbe, plan?: Pick<TorchPlan, 'optimizer' | 'precision'>): readonly Requirement[] {
  const checks = Object.entries(REQUIRED).map(([name, least]): Requirement => {
    const found = packages[name as PackageName];
    return { name: name as PackageName, found, needed: `${least.join('.')} or newer`, ok: found !== null && isAtLeast(found, least) };
  });
  const needsTorchao = plan !== undefined && (plan.optimizer.kind === 'adamw_8bit' || plan.optimizer.kind === 'adamw_4bit' || (plan.precision === 'bf16-weights' && plan.optimizer.kind === 'adamw'));
  const torchao: Requirement = { name: 'torchao', found: packages.torchao, needed: 'for optim adamw_8bit, adamw_4bit and bf16_weights', ok: packages.torchao !== null || !needsTorchao };
  return [{ name: 'Python', found: python, needed: `${OLDEST_PYTHON.join('.')} or newer`, ok: isAtLeast(python, OLDEST_PYTHON) }, ...checks, torchao];
}

/** The command that installs what is missing; undefined when nothing is. */
export function installCommand({ executable }: PythonProbe, missing: readonly Requirement[]): string | undefined {
  const names = missing.filter(({ ok }) => !ok).map(({ name }) => name);
  if (names.length === 0) return undefined;
  if (names.includes('Python')) return 'Install Python 3.11 or newer, and give it with --python PATH.';
  const words = names.map((name) => (REQUIRED[name as PackageName] === undefined ? name : `"${name}>=${REQUIRED[name as PackageName]!.join('.')}"`));
  return `${executable} -m pip install ${words.join(' ')}`;
}

function isAtLeast(found: string, [major, minor]: readonly [number, number]): boolean {
  const [a = 0, b = 0] = found.split('.').map((part) => Number.parseInt(part, 10));
  return a > major || (a === major && b >= minor);
}
