/** How the memory page looks. Colours of the storage classes are those of Okabe & Ito (2008), which people with any colour vision tell apart. */

import { STORAGE_CLASSES } from '../run/storage-class.ts';

const COLOURS = `
:root {
  --text: #16191d; --soft: #4a5058; --faint: #666d76; --page: #ffffff; --panel: #f6f7f9; --line: #dde1e6; --grid: #e6e9ed; --unused: #f1f2f4;
  --accent: #0b63b0; --peak: #b00040; --peak-ink: #ffffff; --good: #0a7a45; --bad: #b00040;
  --parameter: #0072b2; --gradient: #d55e00; --optimizer-state: #009e73; --activation: #e69f00; --workspace: #9aa1a9; --input: #f0e442; --constant: #cc79a7; --cache: #56b4e9;
  --parameter-ink: #ffffff; --gradient-ink: #111111; --optimizer-state-ink: #111111; --activation-ink: #111111; --workspace-ink: #111111; --input-ink: #111111;
  --constant-ink: #111111; --cache-ink: #111111;
  --phase-forward: #dbe9f6; --phase-recompute: #e9e0f5; --phase-backward: #fbe3d1; --phase-update: #d8efe4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e9ebee; --soft: #b9bfc7; --faint: #969da6; --page: #14171b; --panel: #1c2026; --line: #333941; --grid: #272c33; --unused: #1a1e23;
    --accent: #6cb4f5; --peak: #ff7a9c; --peak-ink: #14171b; --good: #53c98f; --bad: #ff7a9c;
    --parameter: #1a78b8; --workspace: #7d858e;
    --phase-forward: #1f3a54; --phase-recompute: #3a2d52; --phase-backward: #54351e; --phase-update: #1d4434;
  }
}
`;

const LAYOUT = `
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 44px 0 4px; letter-spacing: -0.005em; }
p { margin: 0 0 12px; color: var(--soft); max-width: 80ch; }
code, .mono { font: 0.92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0; padding: 0; }
.tile { background: var(--panel); border-radius: 10px; padding: 12px 14px; margin: 0; }
.tile dt { color: var(--faint); font-size: 13px; }
.tile dd { margin: 0; font-size: 23px; font-weight: 650; letter-spacing: -0.01em; white-space: nowrap; }
.tile small { display: block; font-size: 12.5px; font-weight: 400; color: var(--faint); letter-spacing: 0; white-space: normal; line-height: 1.35; }
.facts { columns: 2; column-gap: 40px; margin: 22px 0 0; font-size: 14px; }
.facts div { display: grid; grid-template-columns: 11.5em 1fr; gap: 0 14px; break-inside: avoid; padding: 1.5px 0; } .facts dt { color: var(--faint); overflow-wrap: anywhere; } .facts dd { margin: 0; overflow-wrap: anywhere; }
.bar { display: flex; height: 36px; gap: 2px; margin: 12px 0 10px; border-radius: 6px; overflow: hidden; }
.segment { min-width: 1px; container-type: inline-size; background: var(--c); color: var(--ink); font-size: 12.5px; font-weight: 600; line-height: 36px; overflow: hidden; white-space: nowrap; }
.segment span { padding: 0 8px; } @container (max-width: 105px) { .segment span { display: none; } }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px; background: var(--c); margin-right: 7px; vertical-align: -1px; }
.scroll { overflow-x: auto; margin: 10px 0 0; }
table { border-collapse: collapse; font-size: 14px; width: 100%; }
th, td { text-align: right; padding: 5px 0 5px 18px; border-bottom: 1px solid var(--line); white-space: nowrap; font-weight: 400; }
th:first-child { text-align: left; padding-left: 0; } thead th { color: var(--faint); font-size: 12.5px; vertical-align: bottom; }
td.left, th.left { text-align: left; } tfoot th, tfoot td { font-weight: 650; border-bottom: 0; } td.none { color: var(--faint); }
.sticky th:first-child { position: sticky; left: 0; background: var(--page); max-width: 56vw; white-space: normal; }
.kinds tbody th { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: normal; overflow-wrap: anywhere; min-width: 12em; } .kinds small { display: none; }
.kinds td:nth-child(2), .kinds thead th:nth-child(2) { text-align: left; }
.kinds tr[tabindex]:hover, .kinds tr[tabindex]:focus { background: var(--panel); outline: none; } .kinds tr[tabindex]:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
.controls { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; margin: 12px 0 8px; font-size: 13.5px; }
.controls label { color: var(--faint); } .group { display: inline-flex; }
button, select { font: inherit; color: var(--text); background: var(--page); border: 1px solid var(--line); border-radius: 7px; padding: 4px 10px; min-height: 32px; cursor: pointer; }
select { max-width: 240px; } .group button { border-radius: 0; margin-left: -1px; } .group button:first-child { border-radius: 7px 0 0 7px; margin-left: 0; }
.group button:last-child { border-radius: 0 7px 7px 0; } button:hover:enabled { background: var(--panel); } button:disabled { color: var(--faint); cursor: default; }
button[aria-pressed="true"] { background: var(--text); color: var(--page); border-color: var(--text); }
.legend { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 10px; } .legend button { font-size: 13px; padding: 2px 10px; min-height: 30px; border-radius: 999px; }
button:focus-visible, select:focus-visible, canvas:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.stage { position: relative; } canvas { display: block; width: 100%; } #arena { height: 480px; cursor: crosshair; touch-action: pan-y; border-radius: 4px; } #arena.zoomed { touch-action: none; }
#curve { height: 120px; margin-top: 4px; cursor: crosshair; } #box { position: absolute; border: 1.5px solid var(--text); background: color-mix(in srgb, var(--accent) 18%, transparent); pointer-events: none; }
#mark { position: absolute; border: 2px solid var(--text); outline: 1px solid var(--page); pointer-events: none; }
.axis { display: flex; justify-content: space-between; gap: 12px; color: var(--faint); font-size: 12.5px; margin: 2px 10px 0 62px; }
#tip { position: fixed; z-index: 5; max-width: min(430px, calc(100vw - 16px)); background: var(--page); color: var(--text); border: 1px solid var(--line); border-radius: 9px;
  box-shadow: 0 6px 24px rgb(0 0 0 / 0.22); padding: 9px 12px; font-size: 13px; line-height: 1.4; pointer-events: none; }
#tip b { display: block; overflow-wrap: anywhere; margin-bottom: 3px; } #tip dl { display: grid; grid-template-columns: max-content 1fr; gap: 1px 12px; margin: 5px 0 0; }
#tip dt { color: var(--faint); } #tip dd { margin: 0; overflow-wrap: anywhere; } #tip ul { margin: 6px 0 0; padding-left: 17px; }
.chip { display: inline-block; background: var(--c); color: var(--ink); border-radius: 999px; padding: 0 9px; font-size: 12px; font-weight: 600; }
#frontier { display: block; width: 100%; height: 340px; margin-top: 12px; } .grid { stroke: var(--grid); } .tick { fill: var(--faint); font-size: 11.5px; }
.front { fill: none; stroke: var(--line); stroke-width: 1.5; } .target { fill: transparent; } .point { cursor: default; outline: none; } .mark { stroke: var(--page); stroke-width: 1; }
.point .ring { fill: none; stroke: var(--text); stroke-width: 2; } .chosen-label, .budget-label { fill: var(--text); font-size: 12px; font-weight: 650; } .budget { stroke: var(--peak); stroke-width: 1.5; stroke-dasharray: 5 3; }
.point:hover .target, .point:focus-visible .target { fill: color-mix(in srgb, var(--accent) 22%, transparent); }
.tier-bitwise { fill: var(--parameter); } .tier-reordered { fill: var(--activation); } .tier-changed { fill: var(--gradient); } .tier { width: 15px; height: 15px; vertical-align: -3px; margin-right: 5px; }
.hint { color: var(--faint); font-size: 12.5px; margin: 10px 0 0 62px; max-width: none; } .facts div:first-child dd { font-weight: 600; }
.two { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); gap: 0 48px; } .two h2 { margin-top: 26px; }
.tiers { display: flex; flex-wrap: wrap; gap: 2px 22px; font-size: 13.5px; margin: 0; } #points th:first-child { min-width: 11em; }
footer { margin-top: 48px; color: var(--faint); font-size: 13px; }
@media (max-width: 640px) {
  main { padding: 20px 16px 48px; } h1 { font-size: 22px; } .tiles { grid-template-columns: 1fr 1fr; gap: 8px; } .tile dd { font-size: 19px; }
  .facts { columns: 1; } .facts div { grid-template-columns: 8.5em 1fr; } #arena { height: 400px; } .bar, .segment { height: 30px; line-height: 30px; }
  .two { grid-template-columns: minmax(0, 1fr); } .hint { margin-left: 0; } .axis { margin-left: 0; } th, td { padding-left: 12px; }
  .kinds td:nth-child(2), .kinds thead th:nth-child(2) { display: none; } .kinds td, .kinds thead th { padding-left: 8px; font-size: 13px; } .kinds thead th:first-child { padding-left: 0; }
  .kinds tbody th { font-size: 12px; } .kinds small { display: block; font: 12px system-ui, sans-serif; color: var(--faint); }
}
@media (forced-colors: active) { .swatch, .segment, .chip { forced-color-adjust: none; } }
`;

/** The whole style sheet: `.c-<class>` sets the colours of a storage class, `.segment-i` the width of a segment of the bar. */
export function memoryPageStyle(shares: readonly number[]): string {
  const classes = STORAGE_CLASSES.map((storage) => `.c-${storage} { --c: var(--${storage}); --ink: var(--${storage}-ink); }`);
  const segments = shares.map((share, index) => `.segment-${index} { flex: ${(share * 100).toFixed(3)}; }`);
  return `${COLOURS}${LAYOUT}${[...classes, ...segments].join('\n')}\n`;
}
