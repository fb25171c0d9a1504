/** The verbs, in the order of help. Each is loaded when it is used. */

import type { ConfigureVerb } from './verb.ts';

export interface VerbEntry {
  readonly name: string;
  readonly summary: string;
  load(): Promise<ConfigureVerb>;
}

export const VERBS: readonly VerbEntry[] = [
  { name: 'plan', summary: 'Say whether and how a run fits, with its memory table. Nothing is trained or written.', load: async () => (await import('./plan.ts')).configurePlan },
  { name: 'train', summary: 'Fine-tune every parameter of a model.', load: async () => (await import('./train.ts')).configureTrain },
  { name: 'resume', summary: 'Go on with an interrupted run, bit for bit. Flags change what may change, such as --max-steps.', load: async () => (await import('./resume.ts')).configureResume },
  { name: 'eval', summary: 'Mean loss and perplexity of a model on a dataset.', load: async () => (await import('./eval.ts')).configureEval },
  { name: 'generate', summary: 'Let a model write.', load: async () => (await import('./generate.ts')).configureGenerate },
  { name: 'init', summary: 'Make a model with random weights, shaped like another one.', load: async () => (await import('./init.ts')).configureInit },
  { name: 'inspect', summary: 'Look at data, model or memory: inspect data | model | memory.', load: async () => (await import('./inspect.ts')).configureInspect },
  { name: 'export', summary: 'Write the config of another trainer for a plan, and say what does not translate.', load: async () => (await import('./export.ts')).configureExport },
  { name: 'doctor', summary: 'What this machine offers and what is missing.', load: async () => (await import('./doctor.ts')).configureDoctor },
];
