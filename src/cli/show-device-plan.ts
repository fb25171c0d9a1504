/** Makes the plan of a run on PyTorch for devices that need not be here, and prints it. */

import type { PlanConfig } from '../index.ts';
import { renderDevicePlan } from './device-plan-view.ts';
import { USER_MISTAKE } from './exit-code.ts';
import { INTERRUPTED, isInterruption, withInterrupt } from './interrupt.ts';
import type { PlanOutput } from './show-plan.ts';
import type { VerbContext } from './verb.ts';

/** Prints the plan: 0 when it fits, 2 when it does not. Leaves nothing on disk but the page that is asked for. */
export async function showDevicePlan(config: PlanConfig, device: string, { terminal, loadEngine }: VerbContext, { json, html }: Pick<PlanOutput, 'json' | 'html'>): Promise<number> {
  const pages = html === undefined ? undefined : await import('./memory-page-file.ts');
  if (html !== undefined) pages?.checkPagePath(html);
  const engine = await loadEngine();
  return withInterrupt(async (signal) => {
    try {
      const result = await engine.planForDevice(config, device, { signal });
      terminal.write(json ? `${JSON.stringify(result)}\n` : renderDevicePlan(result, terminal.paint, terminal.live ? terminal.columns : Infinity));
      if (html !== undefined) {
        pages?.writeDevicePage(html, result);
        terminal.writeError(`the memory page is ${html}\n`);
      }
      return result.kind === 'fits' ? 0 : USER_MISTAKE;
    } catch (error) {
      if (!isInterruption(error, signal)) throw error;
      return INTERRUPTED;
    }
  }, { onFirst: () => terminal.writeError('stopping … (press again to stop at once)\n') });
}
