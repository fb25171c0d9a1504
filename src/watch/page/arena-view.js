/** The picture of the arena: schedule to the right, bytes upwards, one rectangle per block. And below it the bytes that are live at each position. */

import { binaryTicks, bytesText, bytesTick, countText, decimalTicks, fitText } from './units.js';

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const PHASE_HEIGHT = 20;
const PEAK_HEIGHT = 22;

/** Where things are in a canvas of `width` × `height`. */
export function frameOf(width, height, { phases }) {
  const left = 62;
  const top = phases ? PHASE_HEIGHT + PEAK_HEIGHT : 6;
  return { left, top, width: Math.max(10, width - left - 10), height: Math.max(10, height - top - 24) };
}

/** Maps between pixels and (position, byte). */
export function scales({ left, top, width, height }, { x0, x1, y0, y1 }) {
  return {
    x: (position) => left + ((position - x0) / (x1 - x0)) * width,
    y: (byte) => top + height - ((byte - y0) / (y1 - y0)) * height,
    position: (x) => x0 + ((x - left) / width) * (x1 - x0),
    byte: (y) => y0 + ((top + height - y) / height) * (y1 - y0),
  };
}

/** Gets a canvas of the size that its box has on the screen, cleared. */
export function openCanvas(canvas) {
  const ratio = globalThis.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = FONT;
  context.textBaseline = 'middle';
  return { context, width, height };
}

/** Draws the blocks of `program` within `view` (x0, x1, y0, y1); what `emphasised` refuses is faint. */
export function drawArena(canvas, { program, picture, view, theme, emphasised }) {
  const { context, width, height } = openCanvas(canvas);
  const frame = frameOf(width, height, { phases: true });
  const scale = scales(frame, view);
  drawGrid(context, frame, scale, view, theme, { tickHeight: 44 });
  drawPhases(context, frame, scale, program, theme);
  inside(context, frame, () => {
    drawUnused(context, frame, scale, program, picture, theme);
    const strong = emphasised === undefined ? program.blocks : program.blocks.filter(emphasised);
    if (emphasised !== undefined) for (const block of program.blocks) drawBlock(context, scale, block, theme, { colours: theme.pale, thinnest: 0.5 });
    for (const block of strong) drawBlock(context, scale, block, theme, { colours: theme.fill, thinnest: emphasised === undefined ? 0.5 : 0 });
    for (const region of regions(program, picture)) drawRegion(context, frame, scale, region, theme, emphasised === undefined);
  });
  drawPeak(context, frame, scale, program, theme);
}

/** Draws live bytes over the schedule, stacked by class; `cursor` is a position that is marked. */
export function drawCurve(canvas, { program, view, theme, cursor }) {
  const { context, width, height } = openCanvas(canvas);
  const frame = frameOf(width, height, { phases: false });
  const scale = scales(frame, view);
  drawGrid(context, frame, scale, view, theme, { tickHeight: 28 });
  const from = Math.max(0, Math.floor(view.x0));
  const to = Math.min(program.end, Math.ceil(view.x1) - 1);
  const below = new Float64Array(program.end + 2);
  inside(context, frame, () => {
    for (const { storage, bytes: curve } of program.curves) {
      context.beginPath();
      for (let i = from; i <= to; i++) step(context, scale, i, below[i] + curve[i], i === from);
      for (let i = to; i >= from; i--) {
        context.lineTo(scale.x(i + 1), scale.y(below[i]));
        context.lineTo(scale.x(i), scale.y(below[i]));
      }
      context.fillStyle = theme.fill[storage];
      context.fill();
      for (let i = from; i <= to; i++) below[i] += curve[i];
    }
    context.beginPath();
    for (let i = from; i <= to; i++) step(context, scale, i, program.liveBytes[i], i === from);
    context.lineWidth = 1.5;
    context.strokeStyle = theme.text;
    context.stroke();
    if (cursor !== undefined) verticalLine(context, frame, scale.x(cursor + 0.5), theme.text, []);
  });
  const peak = scale.x(program.peakPosition + 0.5);
  if (peak >= frame.left && peak <= frame.left + frame.width) verticalLine(context, frame, peak, theme.peak, [4, 3]);
}

/** Where a block is on the canvas, cut off at the edges of the picture; undefined when it is outside. */
export function blockBox(frame, scale, block) {
  const { x, y, w, h } = place(scale, block);
  const [left, right] = [Math.max(x, frame.left), Math.min(x + w, frame.left + frame.width)];
  const [top, bottom] = [Math.max(y, frame.top), Math.min(y + h, frame.top + frame.height)];
  return right < left || bottom < top ? undefined : { left, top, width: right - left, height: bottom - top };
}

function step(context, scale, position, byte, first) {
  if (first) context.moveTo(scale.x(position), scale.y(byte));
  else context.lineTo(scale.x(position), scale.y(byte));
  context.lineTo(scale.x(position + 1), scale.y(byte));
}

function inside(context, { left, top, width, height }, draw) {
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  draw();
  context.restore();
}

function place(scale, { birth, death, offset, size }) {
  const x = scale.x(birth);
  const y = scale.y(offset + size);
  return { x, y, w: scale.x(death + 1) - x, h: scale.y(offset) - y };
}

/** Blocks of `thinnest` pixels and more get a pixel at least. */
function drawBlock(context, scale, block, theme, { colours, thinnest }) {
  const { x, y, w, h } = place(scale, block);
  const { clientWidth, clientHeight } = context.canvas;
  if (x > clientWidth || x + w < 0 || y > clientHeight || y + h < 0) return;
  // Whole pixels, so that thin blocks keep their colour; of the thinnest those show that cover the middle of a pixel.
  const pixel = 1 / theme.ratio;
  const [left, right, top, bottom] = [x, x + w, y, y + h].map((at) => Math.round(at * theme.ratio) / theme.ratio);
  const [width, height] = [Math.max(right - left, pixel), Math.max(bottom - top, h * theme.ratio >= thinnest ? pixel : 0)];
  context.fillStyle = colours[block.storage];
  context.fillRect(left, top, width, height);
  drawSeams(context, { left, top, width, height }, theme);
  if (colours !== theme.fill || h < 14) return;
  const from = Math.max(x, 62) + 5;
  const room = Math.min(x + w, clientWidth - 10) - from - 5;
  if (room < 40) return;
  const lines = h >= 30 ? [block.name, bytesText(block.bytes)] : [block.name];
  writeOn(context, theme.ink[block.storage], lines, from, y + h / 2, room);
}

/** The lines between neighbours: the larger the block, the plainer. */
function drawSeams(context, { left, top, width, height }, theme) {
  const pixel = 1 / theme.ratio;
  context.fillStyle = theme.page;
  for (const [size, line] of [[height, [left, top, width, pixel]], [width, [left + width - pixel, top, pixel, height]]]) {
    if (size < 4) continue;
    context.globalAlpha = Math.min(1, size / 16);
    context.fillRect(...line);
  }
  context.globalAlpha = 1;
}

function writeOn(context, colour, lines, x, middle, room) {
  context.fillStyle = colour;
  context.textAlign = 'left';
  lines.forEach((line, i) => context.fillText(fitText(context, line, room), x, middle + (i - (lines.length - 1) / 2) * 13 + 0.5));
}

/** Neighbouring persistent blocks of one class. */
function regions({ blocks, end }, { persistentBytes }) {
  const found = [];
  for (const block of blocks) {
    if (!block.persistent || block.offset >= persistentBytes) continue;
    const open = found.at(-1);
    if (open?.storage === block.storage) {
      open.size = block.offset + block.size - open.offset;
      open.largest = Math.max(open.largest, block.size);
      open.count++;
    } else found.push({ storage: block.storage, offset: block.offset, size: block.size, largest: block.size, count: 1, birth: 0, death: end });
  }
  return found;
}

/** Names a whole region where its blocks are too thin to carry names of their own. */
function drawRegion(context, frame, scale, region, theme, shown) {
  const { y, h } = place(scale, region);
  if (!shown || region.count === 1 || h < 16) return;
  if (scale.y(region.offset) - scale.y(region.offset + region.largest) >= 14) return;
  const text = `${region.storage}: ${countText(region.count)} values, ${bytesText(region.size)}`;
  const shownHeight = Math.min(y + h, frame.top + frame.height) - Math.max(y, frame.top);
  const middle = Math.max(y, frame.top) + shownHeight / 2;
  context.font = `600 ${FONT}`;
  const width = Math.min(context.measureText(text).width, frame.width - 30);
  context.fillStyle = theme.fill[region.storage];
  context.fillRect(frame.left + 6, middle - 9, width + 14, 18);
  writeOn(context, theme.ink[region.storage], [text], frame.left + 13, middle, width);
  context.font = FONT;
}

/** The part of the arena above everything this program uses. */
function drawUnused(context, frame, scale, program, picture, theme) {
  const bottom = Math.min(scale.y(program.top), frame.top + frame.height);
  const top = Math.max(scale.y(picture.arenaBytes), frame.top);
  if (bottom - top < 18) return;
  context.fillStyle = theme.unused;
  context.fillRect(frame.left, top, frame.width, bottom - top);
  writeOn(context, theme.faint, [`${bytesText(picture.arenaBytes - program.top)} that other programs use`], frame.left + 10, (top + bottom) / 2, frame.width - 20);
}

function drawGrid(context, { left, top, width, height }, scale, view, theme, { tickHeight }) {
  context.fillStyle = theme.faint;
  context.strokeStyle = theme.grid;
  context.lineWidth = 1;
  context.textAlign = 'right';
  for (const byte of binaryTicks(view.y0, view.y1, Math.max(3, Math.floor(height / tickHeight)))) {
    const y = Math.round(scale.y(byte)) + 0.5;
    context.beginPath();
    context.moveTo(left, y);
    context.lineTo(left + width, y);
    context.stroke();
    context.fillText(bytesTick(byte), left - 7, y);
  }
  context.textAlign = 'center';
  for (const position of decimalTicks(view.x0, view.x1, Math.max(3, Math.floor(width / 90)), 1)) {
    const text = countText(position);
    const half = context.measureText(text).width / 2;
    context.fillText(text, Math.min(Math.max(scale.x(position), left + half), left + width - half), top + height + 13);
  }
}

const PHASE_NAMES = { forward: 'forward', recompute: 'recompute', backward: 'backward', update: 'update' };

function drawPhases(context, { left, top, width }, scale, program, theme) {
  context.save();
  context.beginPath();
  context.rect(left, 0, width, top);
  context.clip();
  context.textAlign = 'left';
  for (const { phase, from, to } of program.phases) {
    const x = scale.x(from);
    const w = scale.x(to + 1) - x;
    if (x > left + width || x + w < left) continue;
    context.fillStyle = theme.phase[phase];
    context.fillRect(x, 0, Math.max(w - 1, 0.75), PHASE_HEIGHT);
    const start = Math.max(x, left) + 7;
    const room = Math.min(x + w, left + width) - start - 4;
    context.fillStyle = theme.text;
    if (room > context.measureText(PHASE_NAMES[phase]).width) context.fillText(PHASE_NAMES[phase], start, PHASE_HEIGHT / 2 + 0.5);
  }
  context.restore();
}

function drawPeak(context, frame, scale, program, theme) {
  const x = scale.x(program.peakPosition + 0.5);
  if (x < frame.left || x > frame.left + frame.width) return;
  verticalLine(context, { ...frame, top: frame.top - 4, height: frame.height + 4 }, x, theme.peak, [5, 3]);
  const text = `peak ${bytesText(program.liveBytes[program.peakPosition])}`;
  context.font = `600 ${FONT}`;
  const width = context.measureText(text).width + 12;
  const start = Math.min(Math.max(x - width / 2, frame.left), frame.left + frame.width - width);
  context.fillStyle = theme.peak;
  context.beginPath();
  context.roundRect(start, PHASE_HEIGHT + 2, width, 17, 4);
  context.fill();
  context.fillStyle = theme.peakInk;
  context.textAlign = 'left';
  context.fillText(text, start + 6, PHASE_HEIGHT + 11);
  context.font = FONT;
}

function verticalLine(context, { top, height }, x, colour, dash) {
  context.setLineDash(dash);
  context.lineWidth = 1.5;
  context.strokeStyle = colour;
  context.beginPath();
  context.moveTo(x, top);
  context.lineTo(x, top + height);
  context.stroke();
  context.setLineDash([]);
}
