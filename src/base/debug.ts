/**
 * The only reader of environment variables.
 *
 *   FULLTUNE_DEBUG=1   programs as they are compiled, on standard error: nodes, bytes
 *   FULLTUNE_DEBUG=2   … and every node
 *   FULLTUNE_ISA       baseline | avx2 | avx512 | neon: use this set of kernels instead of the best one
 *   FULLTUNE_THREADS   compute threads when the config does not say
 *   FULLTUNE_CACHE     folder for kernels compiled on first use and tokenised datasets (default: the user's cache folder)
 *   FULLTUNE_NATIVE    path of a native module to load instead of the usual one (sanitizer builds)
 *   FULLTUNE_PYTHON    Python of the torch engine when the config does not say (default: python3)
 *   HF_HOME, HF_HUB_CACHE  where the Hugging Face cache lies, as in its own tools
 *   NO_COLOR           no colour, as everywhere
 */

import { FulltuneError } from './errors.ts';

/** Nothing is set in a browser. */
function variable(name: string): string | undefined {
  return typeof process === 'undefined' ? undefined : process.env[name];
}

/** Names of variables that hold keys, tokens and passwords. */
const SECRET = /TOKEN(?!IZERS)|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH/i;

export const env = {
  get debugLevel(): number {
    return Number(variable('FULLTUNE_DEBUG') ?? 0) || 0;
  },
  get isa(): string | undefined {
    return variable('FULLTUNE_ISA') || undefined;
  },
  get threads(): number | undefined {
    const text = variable('FULLTUNE_THREADS');
    if (!text) return undefined;
    const value = Number(text);
    if (Number.isInteger(value) && value > 0) return value;
    throw new FulltuneError('E_CONFIG', `FULLTUNE_THREADS is '${text}'; it must be a whole number from 1 on`, { where: 'environment' });
  },
  /** Where fulltune may keep what can be made again, in a folder of its own. */
  get cacheFolder(): string {
    const home = variable('HOME') || variable('USERPROFILE') || '.';
    return variable('FULLTUNE_CACHE') || variable('XDG_CACHE_HOME') || `${home}/${process.platform === 'darwin' ? 'Library/Caches' : '.cache'}`;
  },
  get hubCache(): string | undefined {
    const home = variable('HF_HOME');
    return variable('HF_HUB_CACHE') || (home ? `${home}/hub` : undefined);
  },
  get python(): string | undefined {
    return variable('FULLTUNE_PYTHON') || undefined;
  },
  /** What a child process may see: everything but what looks like a secret, which it then cannot tell. */
  get withoutSecrets(): Readonly<Record<string, string>> {
    return Object.fromEntries(Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined && !SECRET.test(entry[0])));
  },
  get noColor(): boolean {
    return Boolean(variable('NO_COLOR'));
  },
  get nativeModule(): string | undefined {
    return variable('FULLTUNE_NATIVE') || undefined;
  },
  get compiler(): string | undefined {
    return variable('CC') || undefined;
  },
};
