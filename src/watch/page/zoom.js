/** What part of a program's arena is on the screen: views (x0, x1 in positions, y0, y1 in bytes), and the gestures that change them. */

/** Everything, or from the persistent bytes up. */
export function wholeView({ end, top }, picture, part) {
  const above = part === 'transient' && top > picture.persistentBytes;
  return { x0: 0, x1: end + 1, y0: above ? picture.persistentBytes : 0, y1: above ? top : picture.arenaBytes };
}

const LEAST_POSITIONS = 4;
const LEAST_BYTES = 4096;

/**
 * `view` within `limits`, and not smaller than a few nodes and bytes.
 * @returns {{ x0: number, x1: number, y0: number, y1: number }}
 */
export function clampView(view, limits) {
  const axis = (low, high, from, to, least) => {
    const size = Math.min(Math.max(high - low, Math.min(least, to - from)), to - from);
    const start = Math.min(Math.max((low + high - size) / 2, from), to - size);
    return [start, start + size];
  };
  const [x0, x1] = axis(view.x0, view.x1, limits.x0, limits.x1, LEAST_POSITIONS);
  const [y0, y1] = axis(view.y0, view.y1, limits.y0, limits.y1, LEAST_BYTES);
  return { x0, x1, y0, y1 };
}

/** `factor` < 1 comes nearer; what lies at (position, byte) stays where it is. */
export function zoomView({ x0, x1, y0, y1 }, factor, { position, byte }) {
  return { x0: position - (position - x0) * factor, x1: position + (x1 - position) * factor, y0: byte - (byte - y0) * factor, y1: byte + (y1 - byte) * factor };
}

export function moveView({ x0, x1, y0, y1 }, positions, bytes) {
  return { x0: x0 + positions, x1: x1 + positions, y0: y0 + bytes, y1: y1 + bytes };
}

export function sameView(a, b) {
  return a.x0 === b.x0 && a.x1 === b.x1 && a.y0 === b.y0 && a.y1 === b.y1;
}

/**
 * Wheel zooms, dragging a box zooms into it, dragging with Shift (or the finger, once zoomed in) moves, two fingers pinch, a double click
 * shows everything. `port` gives the scales and views; it hears of points through `point(place)` and `leave()`.
 *   port: { scale(), view(), isWhole(), show(view), reset(), point({ position, byte, x, y }), leave(), box(corners | undefined) }
 */
export function followGestures(canvas, port) {
  const fingers = new Map();
  let drag;
  const at = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return placeOf(port.scale(), event.clientX - left, event.clientY - top);
  };
  canvas.addEventListener('wheel', (event) => {
    // Scrolling on over the whole picture scrolls the page.
    if (port.isWhole() && event.deltaY > 0) return;
    event.preventDefault();
    if (event.shiftKey) {
      const view = port.view();
      port.show(moveView(view, ((event.deltaX + event.deltaY) / 600) * (view.x1 - view.x0), 0));
    } else port.show(zoomView(port.view(), Math.exp(Math.max(-200, Math.min(200, event.deltaY)) / 400), at(event)));
  }, { passive: false });
  canvas.addEventListener('pointerdown', (event) => {
    const place = at(event);
    fingers.set(event.pointerId, place);
    if (event.pointerType === 'touch') port.point(place);
    if (event.button !== 0 || fingers.size > 1) {
      drag = undefined;
      return;
    }
    const moves = event.shiftKey || (event.pointerType === 'touch' && !port.isWhole());
    if (event.pointerType !== 'touch' || moves) {
      drag = { from: place, view: port.view(), moves };
      canvas.setPointerCapture(event.pointerId);
    }
  });
  canvas.addEventListener('pointermove', (event) => {
    const place = at(event);
    if (fingers.size === 2 && fingers.has(event.pointerId)) {
      pinch(event.pointerId, place);
    } else if (drag?.moves) {
      const scale = port.scale();
      const start = placeOf(scale, drag.from.x, drag.from.y);
      port.show(moveView(port.view(), start.position - place.position, start.byte - place.byte));
      drag.from = place;
    } else if (drag !== undefined) port.box([drag.from, place]);
    else port.point(place);
  });
  const lift = (event) => {
    const place = at(event);
    fingers.delete(event.pointerId);
    if (drag !== undefined && !drag.moves) {
      port.box(undefined);
      if (event.type === 'pointerup' && Math.abs(place.x - drag.from.x) > 8 && Math.abs(place.y - drag.from.y) > 8) {
        const [x0, x1] = [drag.from.position, place.position].toSorted((a, b) => a - b);
        const [y0, y1] = [drag.from.byte, place.byte].toSorted((a, b) => a - b);
        port.leave();
        port.show({ x0, x1, y0, y1 });
      } else port.point(place);
    }
    drag = undefined;
  };
  canvas.addEventListener('pointerup', lift);
  canvas.addEventListener('pointercancel', lift);
  canvas.addEventListener('pointerleave', (event) => {
    if (event.pointerType === 'mouse' && drag === undefined) port.leave();
  });
  canvas.addEventListener('dblclick', port.reset);

  function pinch(id, place) {
    const before = fingers.get(id);
    const other = [...fingers].find(([key]) => key !== id)[1];
    fingers.set(id, place);
    const distance = (a, b) => Math.max(Math.hypot(a.x - b.x, a.y - b.y), 20);
    const middle = placeOf(port.scale(), (place.x + other.x) / 2, (place.y + other.y) / 2);
    port.show(zoomView(port.view(), distance(before, other) / distance(place, other), middle));
  }
}

function placeOf(scale, x, y) {
  return { x, y, position: scale.position(x), byte: scale.byte(y) };
}
