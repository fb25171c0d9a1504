/**
 * Who owns bytes of the arena. `parameter`, `optimizer-state`, `constant`, `cache` (keys and values in generate), and `gradient` when it is
 * accumulated over micro-steps, outlive a program; the rest live inside one.
 */
export type StorageClass = 'parameter' | 'gradient' | 'optimizer-state' | 'activation' | 'workspace' | 'input' | 'constant' | 'cache';

/** In the order in which reports list them. */
export const STORAGE_CLASSES: readonly StorageClass[] = ['parameter', 'gradient', 'optimizer-state', 'activation', 'workspace', 'input', 'constant', 'cache'];
