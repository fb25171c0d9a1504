/** Numbers as the page writes them, and where the ticks of an axis go. Browser code: memory-page.ts puts these files into the page, one after the other. */

/** @param {number} bytes  As formatBytes of base/bytes.ts. */
export function bytesText(bytes) {
  const units = [['TiB', 2 ** 40, 2], ['GiB', 2 ** 30, 2], ['MiB', 2 ** 20, 1], ['KiB', 2 ** 10, 1]];
  const [unit, size, digits] = units.find(([, least]) => Math.abs(bytes) >= least) ?? ['B', 1, 0];
  return `${(bytes / size).toFixed(digits)} ${unit}`;
}

/** @param {number} bytes  A tick: no digits that say nothing (`1.5 GiB`, `512 MiB`, `0`). */
export function bytesTick(bytes) {
  if (bytes === 0) return '0';
  const [unit, size] = [['TiB', 2 ** 40], ['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]].find(([, least]) => Math.abs(bytes) >= least) ?? ['B', 1];
  return `${Number((bytes / size).toFixed(3))} ${unit}`;
}

/** @param {number} count  `1,234,567`. */
export function countText(count) {
  return Math.round(count).toString().replace(/\B(?=(\d{3})+$)/g, ',');
}

/** @param {number} share  `41 %`, `0.2 %`, `<0.1 %`. */
export function shareText(share) {
  const percent = share * 100;
  if (percent > 0 && percent < 0.05) return '<0.1 %';
  return `${percent !== 0 && percent < 9.95 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}

/** @param {number} ms  `850 ms`, `4.2 s`, `3.5 min`. */
export function timeText(ms) {
  if (ms < 1000) return `${Number(ms.toPrecision(3))} ms`;
  if (ms < 120_000) return `${Number((ms / 1000).toPrecision(3))} s`;
  return `${Number((ms / 60_000).toPrecision(3))} min`;
}

/** Multiples of a power of two, at most `most` (3 or more) of them. */
export function binaryTicks(from, to, most) {
  let step = 1;
  while (countMultiples(from, to, step) > most) step *= 2;
  return multiples(from, to, step);
}

/** Multiples of 1, 2 or 5 times a power of ten, at most `most` (3 or more) of them; the power is `least` at least. */
export function decimalTicks(from, to, most, least = 0) {
  let step = Math.max(least, 10 ** Math.floor(Math.log10(Math.max(to - from, Number.MIN_VALUE) / most)));
  for (let i = 0; countMultiples(from, to, step) > most; i++) step *= [2, 2.5, 2][i % 3];
  return multiples(from, to, step);
}

function countMultiples(from, to, step) {
  return Math.floor(to / step) - Math.ceil(from / step) + 1;
}

function multiples(from, to, step) {
  const ticks = [];
  for (let i = Math.ceil(from / step); i * step <= to; i++) ticks.push(i * step);
  return ticks;
}

/** `text`, or its two ends around an ellipsis, so that it is at most `width` wide in the canvas's font; empty where nothing useful fits. */
export function fitText(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let keep = text.length - 1;
  const cut = (n) => `${text.slice(0, Math.ceil(n / 2))}…${text.slice(text.length - Math.floor(n / 2))}`;
  while (keep > 5 && context.measureText(cut(keep)).width > width) keep--;
  return keep <= 5 ? '' : cut(keep);
}
