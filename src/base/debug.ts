/**
 * The only reader of environment variables.
 *
 *   FULLTUNE_DEBUG=1   programs as they are compiled (counts, bytes)
 *   FULLTUNE_DEBUG=2   … and every instruction
 *   FULLTUNE_ISA       baseline | avx2 | avx512 | neon: use this set of kernels instead of the best one
 *   FULLTUNE_THREADS   compute threads when the config does not say
 *   FULLTUNE_CACHE     folder for kernels compiled on first use and tokenised datasets (default: the user's cache folder)
 *   FULLTUNE_NATIVE    path of a native module to load instead of the usual one (sanitizer builds)
 *   HF_HOME, HF_HUB_CACHE  where the Hugging Face cache lies, as in its own tools
 *   NO_COLOR           no colour, as everywhere
 */
export const env = {
  get debugLevel(): number {
    return Number(process.env['FULLTUNE_DEBUG'] ?? 0) || 0;
  },
  get isa(): string | undefined {
    return process.env['FULLTUNE_ISA'] || undefined;
  },
  get threads(): number | undefined {
    const value = Number(process.env['FULLTUNE_THREADS']);
    return Number.isInteger(value) && value > 0 ? value : undefined;
  },
  /** Where fulltune may keep what can be made again, in a folder of its own. */
  get cacheFolder(): string {
    const home = process.env['HOME'] || process.env['USERPROFILE'] || '.';
    return process.env['FULLTUNE_CACHE'] || process.env['XDG_CACHE_HOME'] || `${home}/${process.platform === 'darwin' ? 'Library/Caches' : '.cache'}`;
  },
  get hubCache(): string | undefined {
    const home = process.env['HF_HOME'];
    return process.env['HF_HUB_CACHE'] || (home ? `${home}/hub` : undefined);
  },
  get noColor(): boolean {
    return Boolean(process.env['NO_COLOR']);
  },
  get nativeModule(): string | undefined {
    return process.env['FULLTUNE_NATIVE'] || undefined;
  },
  get compiler(): string | undefined {
    return process.env['CC'] || undefined;
  },
};
