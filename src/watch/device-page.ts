/** One HTML file of a plan for GPUs: who holds a device's memory at the peak, the phases, and the plans between which to choose. Runs no script. */

import { formatBytes } from '../base/bytes.ts';
import type { DevicePlanResult } from '../index.ts';
import type { StorageClass } from '../run/storage-class.ts';
import { escapeHtml, renderDocument } from './html.ts';
import { memoryPageStyle } from './memory-page-style.ts';

export interface DevicePage {
  readonly title: string;
  /** What the run is, in order: name and value as texts. */
  readonly facts: readonly (readonly [string, string])[];
  readonly result: Pick<DevicePlanResult, 'memory' | 'frontier' | 'budgetBytes' | 'neededBytes' | 'errorBars' | 'time'>;
}

type MemoryClass = keyof DevicePlanResult['memory']['classes'];

/** The storage class whose colour a class has. */
const COLOUR_OF: Readonly<Record<MemoryClass, StorageClass>> = {
  parameters: 'parameter', gradients: 'gradient', 'optimizer state': 'optimizer-state', 'parameter copies': 'constant', activations: 'activation', 'logits and loss': 'input',
  workspace: 'cache', 'allocator slack': 'workspace', context: 'workspace',
};

export function renderDevicePage({ title, facts, result }: DevicePage): string {
  const { memory, errorBars } = result;
  const classes = (Object.entries(memory.classes) as [MemoryClass, number][]).filter(([, bytes]) => bytes >= 1);
  return renderDocument({
    title,
    style: memoryPageStyle(classes.map(([, bytes]) => bytes / memory.deviceBytes)),
    script: '',
    body: `<main>
<header>
<h1>${escapeHtml(title)}</h1>
<p>An estimate: measured memory may differ by ${percent(errorBars.memory)}, measured time by ${percent(errorBars.time)}. Memory is highest in <b>${escapeHtml(memory.peakPhase)}</b>.</p>
${renderTiles(result)}
<dl class="facts">${facts.map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')}</dl>
</header>
<section aria-labelledby="at-peak">
<h2 id="at-peak">Who holds the memory of one device at the peak</h2>
<div class="bar" aria-hidden="true">${classes.map(([name, bytes], index) => (bytes < memory.deviceBytes * 0.002 ? '' : `<div class="segment segment-${index} c-${COLOUR_OF[name]}" title="${name}: ${formatBytes(bytes)}"><span>${name}</span></div>`)).join('')}</div>
<table id="classes"><thead><tr><th scope="col">class</th><th scope="col">bytes</th><th scope="col">share</th></tr></thead>
<tbody>${classes.map(([name, bytes]) => `<tr><th scope="row"><i class="swatch c-${COLOUR_OF[name]}"></i>${name}</th><td>${amount(bytes)}</td><td>${percent(bytes / memory.deviceBytes)}</td></tr>`).join('')}</tbody>
<tfoot><tr><th scope="row">device</th><td>${amount(memory.deviceBytes)}</td><td></td></tr></tfoot></table>
</section>
<section aria-labelledby="phases">
<h2 id="phases">By phase</h2>
<p>Allocated tensors; the peak is the largest of them, not their sum.</p>
<table><tbody>${memory.phases.map(({ phase, allocatedBytes }) => `<tr><th scope="row">${phase}</th><td>${amount(allocatedBytes)}</td></tr>`).join('')}</tbody></table>
</section>
${renderFrontier(result)}
<footer>Formulas with their sources: src/torch/estimate-memory.ts and estimate-time.ts of fulltune. Sizes are binary: 1 GiB = 2<sup>30</sup> bytes.</footer>
</main>`,
  });
}

function renderTiles({ memory, neededBytes, budgetBytes }: DevicePage['result']): string {
  const room = budgetBytes - neededBytes;
  const tiles = [
    ['needed', neededBytes, 'the estimate and its error'], ['device', memory.deviceBytes, 'as nvidia-smi counts'], ['reserved', memory.reservedBytes, 'max_memory_reserved'],
    ['allocated', memory.allocatedBytes, 'max_memory_allocated'], ['budget', budgetBytes, room >= 0 ? `${formatBytes(room)} to spare` : `${formatBytes(-room)} too little`],
  ] as const;
  return `<dl class="tiles">${tiles.map(([name, bytes, remark]) => `<div class="tile"><dt>${name}</dt><dd>${amount(bytes)}<small>${remark}</small></dd></div>`).join('')}</dl>`;
}

function renderFrontier({ frontier }: DevicePage['result']): string {
  const rows = frontier.map(({ forecastBytes, stepMs, tokensPerSecond, numerics, summary, changes, chosen }) =>
    `<tr><th scope="row">${chosen ? '<b>chosen:</b> ' : ''}${escapeHtml(summary)}</th><td>${amount(forecastBytes)}</td><td>${(stepMs / 1000).toPrecision(3)} s</td><td>${Math.round(tokensPerSecond).toLocaleString('en')}</td>` +
    `<td class="left">${numerics === 'changed' ? 'changed' : 'kept'}</td><td class="left">${changes.map(escapeHtml).join('<br>')}</td></tr>`);
  return `<section aria-labelledby="plans">
<h2 id="plans">Memory against time</h2>
<p>The plans between which to choose: no other is both smaller and faster.</p>
<div class="scroll"><table id="points" class="sticky"><thead><tr><th scope="col">plan</th><th scope="col">memory</th><th scope="col">an update</th><th scope="col">tokens/s</th><th scope="col" class="left">numbers</th><th scope="col" class="left">what changes</th></tr></thead>
<tbody>${rows.join('')}</tbody></table></div>
</section>`;
}

function amount(bytes: number): string {
  return `<data value="${Math.round(bytes)}" title="${Math.round(bytes).toLocaleString('en')} bytes">${formatBytes(Math.round(bytes))}</data>`;
}

function percent(part: number): string {
  return `${(part * 100).toFixed(part < 0.0995 && part !== 0 ? 1 : 0)} %`;
}
