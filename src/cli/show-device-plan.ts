/** Makes the plan of a run on PyTorch for devices that need not be here, and prints it. */

import type { PlanConfig } from '../index.ts';
import { renderDevicePlan } from './device-plan-view.ts';
import { showMade, type PlanOutput } from './show-plan.ts';
import type { VerbContext } from './verb.ts';

/** Prints the plan: 0 when it fits, 2 when it does not. Leaves nothing on disk but the page that is asked for. */
export async function showDevicePlan(config: PlanConfig, device: string, context: VerbContext, { json, html }: Pick<PlanOutput, 'json' | 'html'>): Promise<number> {
  const { terminal } = context;
  return showMade(context, html, async (engine, signal) => {
    const result = await engine.planForDevice(config, device, { signal });
    return {
      text: json ? `${JSON.stringify(result)}\n` : renderDevicePlan(result, terminal.paint, terminal.live ? terminal.columns : Infinity),
      fits: result.kind === 'fits',
      writePage: (pages, path) => pages.writeDevicePage(path, result),
    };
  });
}
