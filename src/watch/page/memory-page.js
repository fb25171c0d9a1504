/** Wires the page: reads its data, keeps what is shown, draws on change. */

import { blockAt, kindOf, kindsAt, liveAt, openPrograms } from './blocks.js';
import { blockBox, drawArena, drawCurve, frameOf, scales } from './arena-view.js';
import { drawFrontier } from './frontier-view.js';
import { bytesText, countText, shareText, timeText } from './units.js';
import { clampView, followGestures, sameView, wholeView, zoomView } from './zoom.js';

const { picture, frontier, budgetBytes, peakProgram } = JSON.parse(document.getElementById('data').textContent);
const programs = openPrograms(picture);
const at = (id) => document.getElementById(id);
const arena = at('arena');
const curve = at('curve');
const tip = at('tip');
const shown = { program: programs.find(({ name }) => name === peakProgram) ?? programs[0], part: 'whole', view: undefined, selected: undefined, cursor: undefined, kind: undefined, storage: undefined };
shown.view = wholeView(shown.program, picture, shown.part);

let theme = readTheme();
let waiting = false;

/** Draws once before the next frame, however often it is asked for. */
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const { program, view, cursor, kind, storage } = shown;
    const emphasised = kind === undefined && storage === undefined ? undefined
      : (block) => (storage === undefined || block.storage === storage) && (kind === undefined || (kindOf(block) === kind.name && block.storage === kind.storage));
    drawArena(arena, { program, picture, view, theme, emphasised });
    markSelected();
    drawCurve(curve, { program, view: { ...view, ...curveBytes() }, theme, cursor });
    at('reset').disabled = isWhole();
    arena.classList.toggle('zoomed', !isWhole());
  });
}

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  const byClass = (suffix) => Object.fromEntries(picture.storageClasses.map((storage) => [storage, read(`${storage}${suffix}`)]));
  return {
    ratio: globalThis.devicePixelRatio || 1,
    fill: byClass(''), pale: Object.fromEntries(Object.entries(byClass('')).map(([storage, colour]) => [storage, mixColours(colour, read('page'), 0.86)])), page: read('page'), ink: byClass('-ink'), text: read('text'), faint: read('faint'), grid: read('grid'), unused: read('unused'), peak: read('peak'), peakInk: read('peak-ink'),
    phase: Object.fromEntries(['forward', 'recompute', 'backward', 'update'].map((phase) => [phase, read(`phase-${phase}`)])),
  };
}

/** Two colours like #1a78b8, the second with weight `share`. */
function mixColours(a, b, share) {
  const parts = (colour) => [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  const other = parts(b);
  return `rgb(${parts(a).map((part, i) => Math.round(part * (1 - share) + other[i] * share)).join(' ')})`;
}

const limits = () => wholeView(shown.program, picture, shown.part);
const isWhole = () => sameView(shown.view, limits());
const frame = () => frameOf(arena.clientWidth, arena.clientHeight, { phases: true });
const scale = () => scales(frame(), shown.view);
/** The curve keeps its whole height when the picture is zoomed into, and some room above the peak. */
function curveBytes() {
  const { y0, y1 } = limits();
  return { y0, y1: y1 + (y1 - y0) * 0.08 };
}

function show(view) {
  shown.view = clampView(view, limits());
  redraw();
}

function reset() {
  show(limits());
}

/** Where a block is held: `layers.3.mlp`, and the nodes at both ends of its life. */
function tellBlock(block) {
  const { program } = shown;
  const node = (position) => (position >= program.end ? 'the end' : `${countText(position)}  ${program.nodeName(position)} (${program.phaseAt(position)})`);
  return {
    title: block.name, storage: block.storage,
    rows: [
      ['layer', block.scope === '' ? '—' : block.scope],
      ['bytes', `${bytesText(block.bytes)} · ${shareText(block.bytes / picture.arenaBytes)} of the arena`],
      ['place', `from byte ${countText(block.offset)}`],
      ...(block.persistent ? [['live', 'always: it keeps its place in every program']] : [
        ['from', node(block.birth)],
        ['to', node(block.death)],
        ['live', `over ${countText(Math.min(block.death, program.end - 1) - block.birth + 1)} of ${countText(program.end)} nodes`],
      ]),
    ],
  };
}

function tellPosition(position) {
  const { program } = shown;
  const rows = program.curves.map(({ storage, persistent, bytes }) => [`${storage}${persistent ? '' : program.curves.some((c) => c.storage === storage && c.persistent) ? ' (transient)' : ''}`, bytesText(bytes[position]), storage]);
  return {
    title: position >= program.end ? 'the end' : `${countText(position)}  ${program.nodeName(position)} (${program.phaseAt(position)})`,
    rows: [...rows.filter(([, text]) => text !== '0 B'), ['live', bytesText(program.liveBytes[position])]],
  };
}

/** Puts the tip beside a point of the window, inside of it. */
function showTip({ title, storage, rows, list }, x, y) {
  const make = (name, text, parent, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className !== undefined) made.className = className;
    parent.append(made);
    return made;
  };
  tip.replaceChildren();
  make('b', title, tip);
  if (storage !== undefined) make('span', storage, tip, `chip c-${storage}`);
  const facts = make('dl', undefined, tip);
  for (const [key, value, swatch] of rows) {
    const term = make('dt', undefined, facts);
    if (swatch !== undefined) make('i', undefined, term, `swatch c-${swatch}`);
    term.append(key);
    make('dd', value, facts);
  }
  if (list !== undefined && list.length > 0) {
    const items = make('ul', undefined, tip);
    for (const line of list) make('li', line, items);
  }
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  const { clientWidth, clientHeight } = document.documentElement;
  const beside = x + 16 + width <= clientWidth - 8 ? x + 16 : x - 16 - width;
  const below = y + 16 + height <= clientHeight - 8 ? y + 16 : y - 16 - height;
  tip.style.left = `${Math.max(8, Math.min(beside, clientWidth - width - 8))}px`;
  tip.style.top = `${Math.max(8, Math.min(below, clientHeight - height - 8))}px`;
}

function hideTip() {
  tip.hidden = true;
}

/** Outlines the selected block; an element of its own, so that pointing about draws nothing anew. */
function markSelected() {
  const edges = shown.selected === undefined ? undefined : blockBox(frame(), scale(), shown.selected);
  at('mark').hidden = edges === undefined;
  if (edges === undefined) return;
  for (const [side, length] of Object.entries(edges)) at('mark').style[side] = `${side === 'left' || side === 'top' ? length - 2 : length + 4}px`;
}

function select(block, place) {
  shown.selected = block;
  markSelected();
  if (block === undefined) hideTip();
  else {
    const { left, top } = arena.getBoundingClientRect();
    showTip(tellBlock(block), left + place.x, top + place.y);
  }
}

function point(place) {
  const { left, top, width, height } = frame();
  const outside = place.x < left || place.x > left + width || place.y < top || place.y > top + height;
  select(outside ? undefined : blockAt(shown.program, Math.floor(place.position), place.byte), place);
}

function leave() {
  select(undefined, undefined);
}

const box = at('box');
followGestures(arena, {
  scale, isWhole, show, reset, point, leave,
  view: () => shown.view,
  box: (corners) => {
    box.hidden = corners === undefined;
    if (corners === undefined) return;
    hideTip();
    const [a, b] = corners;
    Object.assign(box.style, { left: `${Math.min(a.x, b.x)}px`, top: `${Math.min(a.y, b.y)}px`, width: `${Math.abs(a.x - b.x)}px`, height: `${Math.abs(a.y - b.y)}px` });
  },
});

/** Arrows walk from block to block, + and - zoom, 0 shows everything, p goes to the peak. */
arena.addEventListener('keydown', (event) => {
  const { program } = shown;
  const walk = walkTo(event.key, event.shiftKey ? 20 : 1);
  if (walk !== undefined) choose(walk.block, walk.position);
  else if (event.key === '+' || event.key === '=') show(zoomView(shown.view, 0.7, centre()));
  else if (event.key === '-') show(zoomView(shown.view, 1 / 0.7, centre()));
  else if (event.key === '0') reset();
  else if (event.key === 'p') choose(largestAt(program.peakPosition), program.peakPosition);
  else if (event.key === 'Escape') leave();
  else return;
  event.preventDefault();
});
arena.addEventListener('blur', hideTip);

function centre() {
  const { selected, view } = shown;
  if (selected !== undefined) return { position: (Math.max(selected.birth, view.x0) + Math.min(selected.death + 1, view.x1)) / 2, byte: selected.offset + selected.size / 2 };
  return { position: (view.x0 + view.x1) / 2, byte: (view.y0 + view.y1) / 2 };
}

function largestAt(position) {
  return liveAt(shown.program, position).reduce((most, block) => (block.size > most.size ? block : most));
}

/** The block that an arrow key leads to: up and down at one position, left and right along the schedule. */
function walkTo(key, stride) {
  const { program, selected } = shown;
  const position = shown.position ?? program.peakPosition;
  if (key === 'ArrowLeft' || key === 'ArrowRight') {
    const next = Math.max(0, Math.min(program.end, position + (key === 'ArrowLeft' ? -stride : stride)));
    const byte = selected === undefined ? Number.NaN : selected.offset;
    return { block: blockAt(program, next, byte) ?? largestAt(next), position: next };
  }
  if (key !== 'ArrowUp' && key !== 'ArrowDown') return undefined;
  const column = liveAt(program, position).toSorted((a, b) => a.offset - b.offset);
  const index = column.indexOf(selected);
  const next = index === -1 ? column.indexOf(largestAt(position)) : Math.max(0, Math.min(column.length - 1, index + (key === 'ArrowUp' ? stride : -stride)));
  return { block: column[next], position };
}

/** Selects by keyboard: the tip stands where the block is, and the view follows. */
function choose(block, position) {
  shown.position = position;
  const { x0, x1, y0, y1 } = shown.view;
  const middle = block.offset + block.size / 2;
  if (position < x0 || position >= x1 || middle < y0 || middle >= y1) show({ x0: position - (x1 - x0) / 2, x1: position + (x1 - x0) / 2, y0: middle - (y1 - y0) / 2, y1: middle + (y1 - y0) / 2 });
  const map = scale();
  select(block, { x: map.x(position + 0.5), y: map.y(middle) });
}

curve.addEventListener('pointermove', (event) => {
  const { left, width } = frameOf(curve.clientWidth, curve.clientHeight, { phases: false });
  const x = event.clientX - curve.getBoundingClientRect().left;
  const position = Math.floor(scale().position(x));
  if (x < left || x > left + width || position > shown.program.end) return leaveCurve();
  shown.cursor = position;
  showTip(tellPosition(position), event.clientX, event.clientY);
  redraw();
});
curve.addEventListener('pointerleave', leaveCurve);

function leaveCurve() {
  shown.cursor = undefined;
  hideTip();
  redraw();
}

at('near').addEventListener('click', () => show(zoomView(shown.view, 0.6, centre())));
at('far').addEventListener('click', () => show(zoomView(shown.view, 1 / 0.6, centre())));
at('reset').addEventListener('click', reset);
at('program').addEventListener('change', (event) => {
  shown.program = programs[event.target.selectedIndex];
  Object.assign(shown, { selected: undefined, position: undefined, kind: undefined });
  reset();
  listKinds();
});
for (const button of document.querySelectorAll('[data-part]')) {
  button.addEventListener('click', () => {
    shown.part = button.dataset.part;
    for (const other of document.querySelectorAll('[data-part]')) other.setAttribute('aria-pressed', String(other === button));
    reset();
  });
}
for (const button of document.querySelectorAll('[data-storage]')) {
  button.addEventListener('click', () => {
    shown.storage = shown.storage === button.dataset.storage ? undefined : button.dataset.storage;
    for (const other of document.querySelectorAll('[data-storage]')) other.setAttribute('aria-pressed', String(other.dataset.storage === shown.storage));
    redraw();
  });
}

const KINDS = 12;

/** The table of what is live at the program's peak; a row that is pointed at or focused is shown in the picture. */
function listKinds() {
  const { program } = shown;
  const kinds = kindsAt(program, program.peakPosition);
  const live = program.liveBytes[program.peakPosition];
  at('kinds-program').textContent = program.name;
  at('kinds-node').textContent = program.nodeName(program.peakPosition);
  const rest = kinds.slice(KINDS);
  const list = kinds.length > KINDS + 1 ? kinds.slice(0, KINDS) : kinds;
  const rows = list.map((kind) => kindRow([kind.name, '', countText(kind.count), bytesText(kind.bytes), shareText(kind.bytes / live)], kind));
  if (kinds.length > KINDS + 1) {
    const bytes = rest.reduce((sum, kind) => sum + kind.bytes, 0);
    rows.push(kindRow([`${countText(rest.length)} more kinds`, '', countText(rest.reduce((sum, kind) => sum + kind.count, 0)), bytesText(bytes), shareText(bytes / live)]));
  }
  at('kinds').replaceChildren(...rows);
}

function kindRow(cells, kind) {
  const row = document.createElement('tr');
  cells.forEach((text, index) => {
    const cell = document.createElement(index === 0 ? 'th' : 'td');
    if (index === 0) {
      cell.scope = 'row';
      // Names break behind their signs.
      for (const part of text.split(/(?<=[./_:])/)) cell.append(part, document.createElement('wbr'));
      if (kind !== undefined) cell.append(classLabel('small', kind));
    } else if (index === 1 && kind !== undefined) cell.append(classLabel('span', kind));
    else cell.append(text);
    row.append(cell);
  });
  if (kind === undefined) return row;
  row.tabIndex = 0;
  const mark = (value) => {
    shown.kind = value;
    redraw();
  };
  for (const event of ['pointerenter', 'focus']) row.addEventListener(event, () => mark(kind));
  for (const event of ['pointerleave', 'blur']) row.addEventListener(event, () => mark(undefined));
  return row;
}

function classLabel(element, { storage }) {
  const label = document.createElement(element);
  const swatch = document.createElement('i');
  swatch.className = `swatch c-${storage}`;
  label.append(swatch, storage);
  return label;
}

function drawPlans() {
  const svg = at('frontier');
  if (svg === null) return;
  drawFrontier(svg, {
    points: frontier, budgetBytes, onHide: hideTip,
    onShow: (p, node) => {
      const { right, bottom } = node.querySelector('.mark').getBoundingClientRect();
      showTip({
        title: p.summary,
        rows: [['memory', bytesText(p.forecastBytes)], ['time', `${timeText(p.stepMs)} a step`], ['speed', `${countText(p.tokensPerSecond)} tokens/s`], ['numerics', p.numerics]],
        list: p.changes,
      }, right - 8, bottom);
    },
  });
}

const resized = new ResizeObserver(() => {
  redraw();
  drawPlans();
});
resized.observe(arena);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  theme = readTheme();
  redraw();
});
globalThis.addEventListener('scroll', () => {
  if (document.activeElement !== arena) hideTip();
}, { passive: true });
listKinds();
redraw();
