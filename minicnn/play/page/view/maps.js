/** Pictures of many maps side by side on one canvas, and frames around units and windows. */

import { shade, shades } from "./colours.js";
import { context } from "./dom.js";

/**
 * Where the maps lie on a canvas: `columns` in a row, each pixel `zoom` wide, `gap` between maps.
 * @typedef {{maps: number, h: number, w: number, columns: number, zoom: number, gap: number,
 *   width: number, height: number}} Layout
 */

/**
 * Return a layout of `maps` pictures (h, w) that takes about `area` pixels of the screen.
 * @param {number} maps @param {number} h @param {number} w @param {number} area
 * @param {number} most width that is there
 * @returns {Layout}
 */
export function layoutOf(maps, h, w, area, most) {
  const gap = h * w === 1 ? 1 : 2;
  const vector = h * w === 1;
  const side = vector ? Math.max(Math.sqrt(21000 / maps), 10)
    : Math.min(Math.max(Math.sqrt(area / maps), 22), 132);
  const largest = vector ? 15 : Math.min(Math.floor((most - 2) / w), 24);
  const zoom = Math.max(1, Math.min(Math.round(side / Math.max(h, w)), largest));
  const tile = w * zoom + gap;
  const wish = Math.ceil(Math.sqrt(maps * (h * w === 1 ? 0.8 : h / w) * 0.9));
  const columns = Math.max(1, Math.min(maps, wish, Math.floor((most + gap) / tile)));
  const rows = Math.ceil(maps / columns);
  const [width, height] = [columns * tile - gap, rows * (h * zoom + gap) - gap];
  return { maps, h, w, columns, zoom, gap, width, height };
}

/**
 * Paint maps on one common scale. What lies between the maps stays clear.
 * @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} values @param {Layout} layout
 * @param {number} limit of the scale
 * @param {((value: number) => number) | null} grey the shade of a pixel, where it is an image
 */
export function paintMaps(canvas, values, layout, limit, grey = null) {
  const { maps, h, w, columns, zoom, gap, width, height } = layout;
  if (canvas.width !== width || canvas.height !== height) {
    [canvas.width, canvas.height] = [width, height];
  }
  const drawing = context(canvas);
  const image = drawing.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const table = shades();
  for (let map = 0; map < maps; map++) {
    const left = (map % columns) * (w * zoom + gap);
    const top = Math.floor(map / columns) * (h * zoom + gap);
    for (let i = 0; i < h; i++) {
      const start = (top + i * zoom) * width + left;
      for (let j = 0, at = start; j < w; j++) {
        const value = values[(map * h + i) * w + j];
        const colour = grey ? table.grey[grey(value)] : shade(table.signs, value, limit);
        for (let k = 0; k < zoom; k++) pixels[at++] = colour;
      }
      for (let k = 1; k < zoom; k++) pixels.copyWithin(start + k * width, start, start + w * zoom);
    }
  }
  drawing.putImageData(image, 0, 0);
}

/**
 * Return which position of the maps lies under a point of the canvas; null between the maps.
 * @param {Layout} layout @param {number} x @param {number} y
 */
export function positionAt({ maps, h, w, columns, zoom, gap }, x, y) {
  const [wide, high] = [w * zoom + gap, h * zoom + gap];
  const [column, row] = [Math.floor(x / wide), Math.floor(y / high)];
  const map = row * columns + column;
  const j = Math.min(Math.floor((x - column * wide) / zoom), w - 1);
  const i = Math.min(Math.floor((y - row * high) / zoom), h - 1);
  if (column < 0 || column >= columns || map < 0 || map >= maps || i < 0 || j < 0) return null;
  return (map * h + i) * w + j;
}

/**
 * Return the rectangle of a canvas that rows and columns of a map take.
 * @param {Layout} layout @param {number} map @param {[number, number, number, number]} box first and
 *   last row, first and last column
 */
function rectangle({ w, h, columns, zoom, gap }, map, [top, bottom, left, right]) {
  const x = (map % columns) * (w * zoom + gap) + left * zoom;
  const y = Math.floor(map / columns) * (h * zoom + gap) + top * zoom;
  return [x, y, (right - left + 1) * zoom, (bottom - top + 1) * zoom];
}

/** Room around the maps for frames, in pixels. */
const ROOM = 4;

/**
 * Draw frames over the maps: a dark line between two light ones, visible on every colour.
 * @param {HTMLCanvasElement} overlay @param {Layout} layout
 * @param {{map: number, box: [number, number, number, number], strong: boolean}[]} frames
 */
export function paintFrames(overlay, layout, frames) {
  const [width, height] = [layout.width + 2 * ROOM, layout.height + 2 * ROOM];
  if (!frames.length && overlay.hidden) return;
  overlay.hidden = !frames.length;
  [overlay.width, overlay.height] = [width, height];
  const drawing = context(overlay);
  const dark = shades().theme === "dark";
  for (const { map, box, strong } of frames) {
    const [x, y, wide, high] = rectangle(layout, map, box);
    for (const [line, colour] of /** @type {[number, string][]} */ ([
      [strong ? 4 : 3, dark ? "#000" : "#fff"],
      [strong ? 2 : 1, dark ? "#fff" : "#000"],
    ])) {
      drawing.lineWidth = line;
      drawing.strokeStyle = colour;
      drawing.strokeRect(x + ROOM - 0.5, y + ROOM - 0.5, wide + 1, high + 1);
    }
  }
}

/**
 * Return the boxes around positions, map by map.
 * @param {number[]} positions @param {number[]} shape
 */
export function boxesOf(positions, shape) {
  const [h, w] = shape.length === 3 ? [shape[1], shape[2]] : [1, 1];
  /** @type {Map<number, [number, number, number, number]>} */
  const boxes = new Map();
  for (const at of positions) {
    const [map, i, j] = [Math.floor(at / (h * w)), Math.floor(at / w) % h, at % w];
    const [top, bottom, left, right] = boxes.get(map) ?? [i, i, j, j];
    boxes.set(map, [Math.min(top, i), Math.max(bottom, i), Math.min(left, j), Math.max(right, j)]);
  }
  return [...boxes].map(([map, box]) => ({ map, box, strong: false }));
}
