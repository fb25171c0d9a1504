/** Makes a plan and prints it: what `fulltune plan`, `inspect memory` and `train --dry-run` do in the end. */

import type { PlanConfig, PlanResult, TrainingPlan } from '../index.ts';
import { USER_MISTAKE } from './exit-code.ts';
import { INTERRUPTED, isInterruption, withInterrupt } from './interrupt.ts';
import type * as memoryPageFile from './memory-page-file.ts';
import { renderPlan } from './memory-view.ts';
import type { VerbContext } from './verb.ts';

export interface PlanOutput {
  readonly json: boolean;
  /** The file to write the memory page to. */
  readonly html?: string | undefined;
  /** Show this plan instead of making one. */
  readonly plan?: TrainingPlan;
  /** Called with the result before it is printed; what it gives is printed behind the plan, or becomes keys of the JSON object. */
  readonly more?: (result: PlanResult, signal: AbortSignal) => Promise<{ readonly text: string; readonly json: Readonly<Record<string, unknown>> }>;
}

/** Prints the plan: 0 when it fits, 2 when it does not. Leaves nothing on disk but the page that is asked for. */
export async function showPlan(config: PlanConfig, context: VerbContext, { json, html, plan, more }: PlanOutput): Promise<number> {
  return showMade(context, html, async (engine, signal) => {
    const result = await engine.plan(config, { signal, ...(html === undefined ? {} : { picture: true }), ...(plan === undefined ? {} : { plan }) });
    const added = await more?.(result, signal);
    return {
      text: json ? `${JSON.stringify({ ...result, picture: undefined, ...added?.json })}\n` : renderPlan(result, context.terminal.paint) + (added?.text ?? ''),
      fits: result.kind === 'fits',
      writePage: (pages, path) => pages.writeMemoryPage(path, result),
    };
  });
}

/** A plan ready to be printed. */
export interface Made {
  readonly text: string;
  readonly fits: boolean;
  writePage(pages: typeof memoryPageFile, path: string): void;
}

/** Prints what `make` gives and writes its page to the file `html`; the exit code. Ctrl-C ends it with nothing written. */
export async function showMade(
  { terminal, loadEngine }: VerbContext, html: string | undefined, make: (engine: Awaited<ReturnType<VerbContext['loadEngine']>>, signal: AbortSignal) => Promise<Made>,
): Promise<number> {
  const pages = html === undefined ? undefined : await import('./memory-page-file.ts');
  if (html !== undefined) pages?.checkPagePath(html);
  const engine = await loadEngine();
  return withInterrupt(async (signal) => {
    try {
      const made = await make(engine, signal);
      terminal.write(made.text);
      if (html !== undefined && pages !== undefined) {
        made.writePage(pages, html);
        terminal.writeError(`the memory page is ${html}\n`);
      }
      return made.fits ? 0 : USER_MISTAKE;
    } catch (error) {
      if (!isInterruption(error, signal)) throw error;
      return INTERRUPTED;
    }
  }, { onFirst: () => terminal.writeError('stopping … (press again to stop at once)\n') });
}
