/** One HTML file that shows where a run's memory goes: numbers as text, the arena as a picture to walk through. Loads nothing, works offline. */

import { readFileSync } from 'node:fs';
import { formatBytes } from '../base/bytes.ts';
import type { FrontierPoint, MemoryPicture, MemoryReport } from '../index.ts';
import type { NumericsTier } from '../run/training-plan.ts';
import { STORAGE_CLASSES, type StorageClass } from '../run/storage-class.ts';
import { embedJson, escapeHtml, renderDocument } from './html.ts';
import { memoryPageStyle } from './memory-page-style.ts';

export interface MemoryPage {
  readonly title: string;
  /** What the run is, in order: name and value as texts. */
  readonly facts: readonly (readonly [string, string])[];
  readonly report: MemoryReport;
  readonly picture: MemoryPicture;
  /** Plans to choose from; none: the page says nothing of them. */
  readonly frontier: readonly FrontierPoint[];
  /** What the process may hold in all. */
  readonly budgetBytes?: number;
}

/** Browser code in the order in which it is put together. */
const SCRIPTS = ['units', 'blocks', 'arena-view', 'frontier-view', 'zoom', 'memory-page'] as const;

export function renderMemoryPage(page: MemoryPage): string {
  const { title, facts, report, picture, frontier, budgetBytes } = page;
  return renderDocument({
    title,
    style: memoryPageStyle(report.classes.map(({ bytes }) => share(bytes, report.peakLiveBytes))),
    script: pageScript(),
    body: `<main>
<header>
<h1>${escapeHtml(title)}</h1>
${renderLead(report)}
${renderTiles(page)}
<dl class="facts">${facts.map(([name, value]) => `<div><dt>${escapeHtml(name).replaceAll('_', '_<wbr>')}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')}</dl>
</header>
${renderPeak(report)}
<div class="two">
${renderClasses(report)}
${renderPrograms(report)}
</div>
${renderArena(page)}
${renderKinds()}
${frontier.length === 0 ? '' : renderFrontier(frontier)}
${renderGroups(report)}
<footer>The arena is planned before the run and exact to the byte; the process around it is bounded and measured. Sizes are binary: 1 GiB = 2<sup>30</sup> bytes.</footer>
</main>
<div id="tip" role="status" aria-live="polite" hidden></div>
<script type="application/json" id="data">${embedJson({ picture, frontier, budgetBytes, peakProgram: report.peak.program })}</script>`,
  });
}

/** The browser files as one script: their imports name each other, so that in one scope nothing is left to import. */
function pageScript(): string {
  const texts = SCRIPTS.map((name) => readFileSync(new URL(`./page/${name}.js`, import.meta.url), 'utf8'));
  return `(() => {\n'use strict';\n${texts.map((text) => text.replace(/^import .*;\n/gm, '').replace(/^export /gm, '')).join('\n')}})();`;
}

function share(bytes: number, of: number): number {
  return of === 0 ? 0 : bytes / of;
}

function percent(part: number): string {
  if (part > 0 && part < 0.0005) return '&lt;0.1 %';
  return `${part !== 0 && part < 0.0995 ? (part * 100).toFixed(1) : (part * 100).toFixed(0)} %`;
}

/** A byte count for people; the exact one can be pointed at, and read by programs. */
function amount(bytes: number): string {
  return `<data value="${bytes}" title="${bytes.toLocaleString('en')} bytes">${formatBytes(bytes)}</data>`;
}

function swatch(storage: StorageClass): string {
  return `<i class="swatch c-${storage}"></i>`;
}

function renderLead({ peak }: MemoryReport): string {
  return `<p>Memory is highest at <code>${escapeHtml(peak.node)}</code> of <code>${escapeHtml(peak.program)}</code>.</p>`;
}

function renderTiles({ report, picture, budgetBytes }: MemoryPage): string {
  const lost = report.arenaBytes - report.peakLiveBytes;
  const room = budgetBytes === undefined ? 0 : budgetBytes - report.forecastBytes;
  const tiles: readonly (readonly [id: string, name: string, bytes: number, remark: string])[] = [
    ['forecast', 'forecast', report.forecastBytes, 'what the process holds at most'],
    ['arena-bytes', 'arena', report.arenaBytes, lost === 0 ? 'nothing lost between live ranges' : `${formatBytes(lost)} lost between live ranges`],
    ['persistent', 'persistent part', picture.persistentBytes, 'in place for the whole run'],
    ['process', 'process', report.processBytes, 'runtime, threads, staging: at most'],
    ...(budgetBytes === undefined ? [] : [['budget', 'budget', budgetBytes, room >= 0 ? `${formatBytes(room)} to spare` : `${formatBytes(-room)} too little`] as const]),
  ];
  return `<dl class="tiles">${tiles.map(([id, name, bytes, remark]) => `<div class="tile" id="tile-${id}"><dt>${name}</dt><dd>${amount(bytes)}<small>${remark}</small></dd></div>`).join('')}</dl>`;
}

function renderPeak({ classes, peakLiveBytes }: MemoryReport): string {
  // What is too little to be seen stands in the table alone.
  const segments = classes.map(({ storage, bytes }, index) => (bytes < peakLiveBytes * 0.002 ? '' : `<div class="segment segment-${index} c-${storage}" title="${storage}: ${formatBytes(bytes)}"><span>${storage}</span></div>`));
  return `<section aria-labelledby="at-peak">
<h2 id="at-peak">Who holds the memory at the peak</h2>
<div class="bar" aria-hidden="true">${segments.join('')}</div>
</section>`;
}

function renderClasses({ classes, peakLiveBytes }: MemoryReport): string {
  const rows = classes.map(({ storage, bytes }) => `<tr><th scope="row">${swatch(storage)}${storage}</th><td>${amount(bytes)}</td><td>${percent(share(bytes, peakLiveBytes))}</td></tr>`);
  return `<section aria-labelledby="by-class">
<h2 id="by-class">By storage class</h2>
<p>Live bytes at the peak.</p>
<table id="classes"><thead><tr><th scope="col">storage class</th><th scope="col">bytes</th><th scope="col">share</th></tr></thead>
<tbody>${rows.join('')}</tbody>
<tfoot><tr><th scope="row">live</th><td>${amount(peakLiveBytes)}</td><td></td></tr></tfoot></table>
</section>`;
}

function renderArena({ report, picture }: MemoryPage): string {
  const held = new Set([...picture.persistent.storages, ...picture.programs.flatMap(({ rectangles }) => rectangles.storages)]);
  const classes = picture.storageClasses.filter((_, index) => held.has(index));
  const options = picture.programs.map(({ name }) => `<option${name === report.peak.program ? ' selected' : ''}>${escapeHtml(name)}</option>`);
  return `<section aria-labelledby="the-arena">
<h2 id="the-arena">The arena over the schedule</h2>
<p>The program runs from left to right, one node after the other; bytes of the arena go upwards. Each rectangle is a value in its place, from its first write to its last use.</p>
<div class="controls">
<label>program <select id="program"${picture.programs.length === 1 ? ' disabled' : ''}>${options.join('')}</select></label>
<span class="group" role="group" aria-label="part of the arena"><button type="button" data-part="whole" aria-pressed="true">whole arena</button><button type="button" data-part="transient" aria-pressed="false">transient</button></span>
<span class="group" role="group" aria-label="zoom"><button type="button" id="far" aria-label="zoom out">−</button><button type="button" id="near" aria-label="zoom in">+</button><button type="button" id="reset">reset</button></span>
</div>
<div class="legend" role="group" aria-label="show one storage class">${classes.map((storage) => `<button type="button" data-storage="${storage}" aria-pressed="false">${swatch(storage)}${storage}</button>`).join('')}</div>
<div class="stage"><canvas id="arena" tabindex="0" role="application" aria-label="picture of the arena over the schedule; arrows walk from value to value" aria-describedby="tip"></canvas><div id="mark" hidden></div><div id="box" hidden></div></div>
<div class="axis"><span>↑ bytes of the arena</span><span>node of the schedule →</span></div>
<canvas id="curve" role="img" aria-label="live bytes over the schedule, stacked by storage class"></canvas>
<div class="axis"><span>↑ live bytes, by class</span><span>same schedule →</span></div>
<p class="hint">Point at a value, or tap it, to read it. Wheel or a dragged box: nearer. Shift and drag: move. Double-click: all. Keys: arrows walk, + − zoom, 0 all, p peak.</p>
<noscript><p>The picture needs JavaScript; the tables do not.</p></noscript>
</section>`;
}

function renderKinds(): string {
  return `<section aria-labelledby="largest">
<h2 id="largest">What is live at the peak of <span id="kinds-program"></span></h2>
<p>At <code id="kinds-node"></code>, the same value of all layers in one line. Point at a line to find it in the picture.</p>
<div class="scroll"><table class="kinds"><thead><tr><th scope="col">value</th><th scope="col">class</th><th scope="col">values</th><th scope="col">bytes</th><th scope="col">share</th></tr></thead><tbody id="kinds"></tbody></table></div>
</section>`;
}

function renderGroups({ groups }: MemoryReport): string {
  const present = STORAGE_CLASSES.filter((storage) => groups.some(({ byClass }) => (byClass[storage] ?? 0) > 0));
  const cell = (bytes: number | undefined): string => (bytes === undefined || bytes === 0 ? '<td class="none">·</td>' : `<td>${amount(bytes)}</td>`);
  const rows = groups.map(({ name, bytes, byClass }) => `<tr><th scope="row">${escapeHtml(name)}</th><td>${amount(bytes)}</td>${present.map((storage) => cell(byClass[storage])).join('')}</tr>`);
  return `<section aria-labelledby="by-layer">
<h2 id="by-layer">By layer, at the peak</h2>
<div class="scroll"><table id="groups" class="sticky"><thead><tr><th scope="col">layer</th><th scope="col">bytes</th>${present.map((storage) => `<th scope="col">${swatch(storage)}${storage}</th>`).join('')}</tr></thead>
<tbody>${rows.join('')}</tbody></table></div>
</section>`;
}

function renderPrograms({ programs }: MemoryReport): string {
  const rows = programs.map(({ name, instructions, transientBytes, peakLiveBytes }) =>
    `<tr><th scope="row">${escapeHtml(name)}</th><td>${instructions.toLocaleString('en')}</td><td>${amount(transientBytes)}</td><td>${amount(peakLiveBytes)}</td></tr>`);
  return `<section aria-labelledby="by-program">
<h2 id="by-program">By program</h2>
<p>One runs at a time; they share the arena above the persistent part.</p>
<div class="scroll"><table id="programs" class="sticky"><thead><tr><th scope="col">program</th><th scope="col">instructions</th><th scope="col">transient</th><th scope="col">live at its peak</th></tr></thead>
<tbody>${rows.join('')}</tbody></table></div>
</section>`;
}

const TIERS: Readonly<Record<NumericsTier, { readonly mark: string; readonly meaning: string }>> = {
  bitwise: { mark: '<circle cx="8" cy="8" r="5.5"/>', meaning: 'bitwise: the same bits' },
  reordered: { mark: '<rect x="3" y="3" width="10" height="10"/>', meaning: 'reordered: sums in another order' },
  changed: { mark: '<path d="M8 1.5L15 14H1Z"/>', meaning: 'changed: low precision or another state' },
};

function tierMark(tier: NumericsTier): string {
  return `<svg class="tier tier-${tier}" viewBox="0 0 16 16" aria-hidden="true">${TIERS[tier].mark}</svg>`;
}

function renderFrontier(points: readonly FrontierPoint[]): string {
  const tiers = (['bitwise', 'reordered', 'changed'] as const).filter((tier) => points.some(({ numerics }) => numerics === tier));
  const rows = points.toSorted((a, b) => a.forecastBytes - b.forecastBytes).map(({ forecastBytes, stepMs, tokensPerSecond, numerics, summary, changes, chosen }) =>
    `<tr><th scope="row">${chosen ? '<b>chosen:</b> ' : ''}${escapeHtml(summary)}</th><td>${amount(forecastBytes)}</td><td>${formatTime(stepMs)}</td><td>${Math.round(tokensPerSecond).toLocaleString('en')}</td>` +
    `<td class="left">${tierMark(numerics)}${numerics}</td><td class="left">${changes.map(escapeHtml).join('<br>')}</td></tr>`);
  return `<section aria-labelledby="plans">
<h2 id="plans">Memory against time</h2>
<p>The plans between which to choose: no other is both smaller and faster. Point at one to read what changes.</p>
<p class="tiers">${tiers.map((tier) => `<span>${tierMark(tier)}${TIERS[tier].meaning}</span>`).join('')}</p>
<svg id="frontier" role="group" aria-label="plans: memory against time of a step"></svg>
<div class="scroll"><table id="points" class="sticky"><thead><tr><th scope="col">plan</th><th scope="col">memory</th><th scope="col">a step</th><th scope="col">tokens/s</th><th scope="col" class="left">numerics</th>
<th scope="col" class="left">what changes</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>
</section>`;
}

function formatTime(ms: number): string {
  if (ms < 1000) return `${Number(ms.toPrecision(3))} ms`;
  return ms < 120_000 ? `${Number((ms / 1000).toPrecision(3))} s` : `${Number((ms / 60_000).toPrecision(3))} min`;
}
