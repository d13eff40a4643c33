/**
 * Pools: the maximum, the mean, or the mean over a grid of regions.
 *
 * The derivations stand in minicnn/ops: max_pool2d.py, avg_pool2d.py, adaptive_avg_pool2d.py.
 */

import { onlyInput } from "./types.js";

/** @typedef {import("./types.js").Node} Node */

/**
 * Return the pixels of window (i, j) that lie inside a map, in the order of the window.
 * @param {import("./types.js").Windows} g @param {number} i @param {number} j
 * @returns {number[]}
 */
export function pixelsOf(g, i, j) {
  const pixels = [];
  for (let r = 0; r < g.kh; r++) {
    const p = i * g.sh + r * g.dh - g.top;
    for (let s = 0; s < g.kw; s++) {
      const q = j * g.sw + s * g.dw - g.left;
      if (p >= 0 && p < g.h && q >= 0 && q < g.w) pixels.push(p * g.w + q);
    }
  }
  return pixels;
}

/**
 * Return the pixels of region (i, j) of an adaptive pool.
 * @param {Node} node @param {number} i @param {number} j
 */
export function regionOf(node, i, j) {
  const [, h, w] = node.from[0];
  const [, oh, ow] = node.shape;
  const pixels = [];
  for (let p = Math.floor((i * h) / oh); p < Math.ceil(((i + 1) * h) / oh); p++) {
    for (let q = Math.floor((j * w) / ow); q < Math.ceil(((j + 1) * w) / ow); q++) {
      pixels.push(p * w + q);
    }
  }
  return pixels;
}

/**
 * Return which pixel of a map has the maximum; -1 where there is none but padding.
 *
 * Of equals the first counts, and of several NaN the last.
 * @param {Float64Array} x @param {number} start where the map begins @param {number[]} pixels
 */
export function argmax(x, start, pixels) {
  let best = -1;
  for (const pixel of pixels) {
    const value = x[start + pixel];
    if (best < 0 || value > x[start + best] || value !== value) best = pixel;
  }
  return best;
}

/** Windows of the same geometry, made once. @type {WeakMap<Node, number[][]>} */
const known = new WeakMap();

/**
 * Return the pixels of every window of a pool, output by output.
 * @param {Node} node
 */
function allWindows(node) {
  let windows = known.get(node);
  if (!windows) {
    windows = [];
    const [, oh, ow] = node.shape;
    for (let i = 0; i < oh; i++) {
      for (let j = 0; j < ow; j++) {
        const adaptive = node.op === "adaptive_avg_pool2d";
        windows.push(adaptive ? regionOf(node, i, j) : pixelsOf(node.windows, i, j));
      }
    }
    known.set(node, windows);
  }
  return windows;
}

/**
 * Call `visit` for each output with where its map begins in x, and its window's pixels.
 * @param {Node} node @param {number} n
 * @param {(output: number, start: number, pixels: number[], place: number) => void} visit
 */
function eachWindow(node, n, visit) {
  const [c, h, w] = node.from[0];
  const windows = allWindows(node);
  for (let map = 0, output = 0; map < n * c; map++) {
    for (let place = 0; place < windows.length; place++, output++) {
      visit(output, map * h * w, windows[place], place);
    }
  }
}

/** @type {import("./types.js").Operation} */
export const maxPool2d = {
  forward(node, [x], _arrays, n) {
    const y = new Float64Array(n * node.shape[0] * node.shape[1] * node.shape[2]);
    eachWindow(node, n, (output, start, pixels) => {
      const best = argmax(x, start, pixels);
      y[output] = best < 0 ? -Infinity : x[start + best];
    });
    return y;
  },
  backward(node, dy, [x], _y, _arrays, n) {
    const dx = new Float64Array(x.length);
    eachWindow(node, n, (output, start, pixels) => {
      const best = argmax(x, start, pixels);
      if (best >= 0) dx[start + best] += dy[output];
    });
    return onlyInput(dx);
  },
};

/**
 * Return what the sum over a window is divided by.
 * @param {Node} node @param {number[]} pixels @param {number} place
 */
export function divisorOf(node, pixels, place) {
  return node.divisor ? node.divisor[place] : pixels.length;
}

/** @type {import("./types.js").Operation} */
export const avgPool2d = {
  forward(node, [x], _arrays, n) {
    const y = new Float64Array(n * node.shape[0] * node.shape[1] * node.shape[2]);
    eachWindow(node, n, (output, start, pixels, place) => {
      let total = 0;
      for (const pixel of pixels) total += x[start + pixel];
      y[output] = total / divisorOf(node, pixels, place);
    });
    return y;
  },
  backward(node, dy, [x], _y, _arrays, n) {
    const dx = new Float64Array(x.length);
    eachWindow(node, n, (output, start, pixels, place) => {
      const share = dy[output] / divisorOf(node, pixels, place);
      for (const pixel of pixels) dx[start + pixel] += share;
    });
    return onlyInput(dx);
  },
};
