/** Memory against time: one point per plan, its shape the numerics tier, the chosen one ringed. */

import { binaryTicks, bytesText, bytesTick, decimalTicks, timeText } from './units.js';

const SVG = 'http://www.w3.org/2000/svg';

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

/** Low and high with a margin on both sides, so that no point lies on an axis. */
function around(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low || high || 1) * 0.12;
  return [Math.max(0, low - margin), high + margin];
}

/** Draws `points` into `svg`; `onShow(point, node)` and `onHide()` are called as points are pointed at or focused. */
export function drawFrontier(svg, { points, budgetBytes, onShow, onHide }) {
  svg.replaceChildren();
  const { clientWidth: width, clientHeight: height } = svg;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const frame = { left: 62, top: 24, width: width - 62 - 14, height: height - 24 - 42 };
  const [x0, x1] = around([...points.map((p) => p.forecastBytes), ...(budgetBytes === undefined ? [] : [budgetBytes])]);
  const [y0, y1] = around(points.map((p) => p.stepMs));
  const x = (bytes) => frame.left + ((bytes - x0) / (x1 - x0)) * frame.width;
  const y = (ms) => frame.top + frame.height - ((ms - y0) / (y1 - y0)) * frame.height;
  for (const ms of decimalTicks(y0, y1, Math.max(3, Math.floor(frame.height / 44)))) {
    element('line', { class: 'grid', x1: frame.left, x2: frame.left + frame.width, y1: y(ms), y2: y(ms) }, svg);
    element('text', { class: 'tick', x: frame.left - 8, y: y(ms) + 4, 'text-anchor': 'end' }, svg, timeText(ms));
  }
  for (const bytes of binaryTicks(x0, x1, Math.max(3, Math.floor(frame.width / 84)))) {
    element('line', { class: 'grid', y1: frame.top, y2: frame.top + frame.height, x1: x(bytes), x2: x(bytes) }, svg);
    element('text', { class: 'tick', x: x(bytes), y: frame.top + frame.height + 17, 'text-anchor': 'middle' }, svg, bytesTick(bytes));
  }
  element('text', { class: 'tick', x: frame.left + frame.width, y: height - 6, 'text-anchor': 'end' }, svg, 'memory of the process →');
  element('text', { class: 'tick', x: 4, y: 12 }, svg, '↑ time of a step');
  if (budgetBytes !== undefined) {
    const at = x(budgetBytes);
    const left = at > frame.left + frame.width / 2;
    element('line', { class: 'budget', x1: at, x2: at, y1: frame.top, y2: frame.top + frame.height }, svg);
    element('text', { class: 'budget-label', x: at + (left ? -6 : 6), y: frame.top + 11, 'text-anchor': left ? 'end' : 'start' }, svg, `budget ${bytesText(budgetBytes)}`);
  }
  const sorted = points.toSorted((a, b) => a.forecastBytes - b.forecastBytes);
  const path = sorted.map((p, i) => `${i === 0 ? 'M' : `H${x(p.forecastBytes)}V`}${i === 0 ? `${x(p.forecastBytes)} ${y(p.stepMs)}` : y(p.stepMs)}`).join('');
  element('path', { class: 'front', d: path }, svg);
  for (const point of sorted) {
    const at = { x: x(point.forecastBytes), y: y(point.stepMs) };
    const group = element('g', {
      class: `point tier-${point.numerics}${point.chosen ? ' chosen' : ''}`, transform: `translate(${at.x} ${at.y})`, tabindex: 0, role: 'img',
      'aria-label': `${point.chosen ? 'chosen: ' : ''}${point.summary}, ${bytesText(point.forecastBytes)}, ${timeText(point.stepMs)} a step, numerics ${point.numerics}`,
    }, svg);
    element('circle', { class: 'target', r: 16 }, group);
    if (point.chosen) element('circle', { class: 'ring', r: 12 }, group);
    mark(point.numerics, group);
    if (point.chosen) {
      const end = at.x > frame.left + frame.width - 80;
      element('text', { class: 'chosen-label', x: end ? -18 : 18, y: -9, 'text-anchor': end ? 'end' : 'start' }, group, 'chosen');
    }
    for (const event of ['pointerenter', 'focus', 'click']) group.addEventListener(event, () => onShow(point, group));
    for (const event of ['pointerleave', 'blur']) group.addEventListener(event, onHide);
  }
}

/** Bitwise: circle. Reordered: square. Changed: triangle. */
function mark(numerics, parent) {
  if (numerics === 'bitwise') element('circle', { class: 'mark', r: 6 }, parent);
  else if (numerics === 'reordered') element('rect', { class: 'mark', x: -5.5, y: -5.5, width: 11, height: 11 }, parent);
  else element('path', { class: 'mark', d: 'M0 -7.5L7 5H-7Z' }, parent);
}
