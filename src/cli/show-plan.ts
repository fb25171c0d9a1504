/** Makes a plan and prints it: what `fulltune plan`, `inspect memory` and `train --dry-run` do in the end. */

import type { PlanConfig, PlanResult, TrainingPlan } from '../index.ts';
import { USER_MISTAKE } from './exit-code.ts';
import { INTERRUPTED, isInterruption, withInterrupt } from './interrupt.ts';
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
export async function showPlan(config: PlanConfig, { terminal, loadEngine }: VerbContext, { json, html, plan, more }: PlanOutput): Promise<number> {
  const pages = html === undefined ? undefined : await import('./memory-page-file.ts');
  if (html !== undefined) pages?.checkPagePath(html);
  const engine = await loadEngine();
  return withInterrupt(async (signal) => {
    try {
      const result = await engine.plan(config, { signal, ...(html === undefined ? {} : { picture: true }), ...(plan === undefined ? {} : { plan }) });
      const added = await more?.(result, signal);
      terminal.write(json ? `${JSON.stringify({ ...result, picture: undefined, ...added?.json })}\n` : renderPlan(result, terminal.paint) + (added?.text ?? ''));
      if (html !== undefined) {
        pages?.writeMemoryPage(html, result);
        terminal.writeError(`the memory page is ${html}\n`);
      }
      return result.kind === 'fits' ? 0 : USER_MISTAKE;
    } catch (error) {
      if (!isInterruption(error, signal)) throw error;
      return INTERRUPTED;
    }
  }, { onFirst: () => terminal.writeError('stopping … (press again to stop at once)\n') });
}
