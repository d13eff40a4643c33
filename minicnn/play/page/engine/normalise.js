/**
 * Batch norm and local response norm, as minicnn/ops/batch_norm.py and local_response_norm.py
 * derive them.
 */

import { count, onlyInput } from "./types.js";

/** @typedef {import("./types.js").Node} Node */
/** @typedef {import("./types.js").Arrays} Arrays */

/**
 * Call `visit` for each number of channel `c`.
 * @param {number} c @param {number} channels @param {number} size @param {number} length
 * @param {(at: number) => void} visit
 */
function eachOf(c, channels, size, length, visit) {
  for (let start = c * size; start < length; start += channels * size) {
    for (let at = start; at < start + size; at++) visit(at);
  }
}

/**
 * Return mean and 1 / standard deviation of channel `c`: those that ran, else those of the batch.
 * @param {Node} node @param {Float64Array} x @param {Arrays} arrays @param {number} c
 */
export function statistics(node, x, { mean, variance }, c) {
  if (mean) return { mean: mean[c], scale: 1 / Math.sqrt(variance[c] + node.eps) };
  const [channels, size] = [node.shape[0], count(node.shape.slice(1))];
  const m = x.length / channels;
  let [total, squares] = [0, 0];
  eachOf(c, channels, size, x.length, (at) => (total += x[at]));
  eachOf(c, channels, size, x.length, (at) => (squares += (x[at] - total / m) ** 2));
  return { mean: total / m, scale: 1 / Math.sqrt(squares / m + node.eps) };
}

/** @type {import("./types.js").Operation} */
export const batchNorm = {
  forward(node, [x], arrays) {
    const { weight, bias } = arrays;
    const [channels, size] = [node.shape[0], count(node.shape.slice(1))];
    const y = new Float64Array(x.length);
    for (let c = 0; c < channels; c++) {
      const { mean, scale } = statistics(node, x, arrays, c);
      const factor = scale * (weight ? weight[c] : 1);
      const shift = bias ? bias[c] : 0;
      eachOf(c, channels, size, x.length, (at) => (y[at] = (x[at] - mean) * factor + shift));
    }
    return y;
  },

  backward(node, dy, [x], _y, arrays) {
    const { weight } = arrays;
    const [channels, size] = [node.shape[0], count(node.shape.slice(1))];
    const m = x.length / channels;
    const dx = new Float64Array(x.length);
    const dweight = new Float64Array(channels);
    const dbias = new Float64Array(channels);
    for (let c = 0; c < channels; c++) {
      const { mean, scale } = statistics(node, x, arrays, c);
      eachOf(c, channels, size, x.length, (at) => {
        dbias[c] += dy[at];
        dweight[c] += dy[at] * (x[at] - mean) * scale;
      });
      const factor = scale * (weight ? weight[c] : 1);
      // Where mean and variance are those of x, they move with it; running ones do not.
      const [along, stretch] = arrays.mean ? [0, 0] : [dbias[c] / m, (dweight[c] / m) * scale];
      eachOf(c, channels, size, x.length, (at) => {
        dx[at] = factor * (dy[at] - along - (x[at] - mean) * stretch);
      });
    }
    /** @type {Arrays} */
    const darrays = weight ? { weight: dweight, bias: dbias } : {};
    return { dxs: [dx], darrays };
  },
};

/**
 * Return d = k + alpha / size * (the squares of the channels around each number).
 * @param {Node} node @param {Float64Array} x @param {number} n
 */
export function denominators(node, x, n) {
  const d = windowSum(node, x.map((v) => v * v), n, Math.floor(node.size / 2));
  return d.map((v) => node.k + (node.alpha / node.size) * v);
}

/**
 * Return the sum over `size` channels, the first of them `below` before the number's own.
 * @param {Node} node @param {Float64Array} v @param {number} n @param {number} below
 */
function windowSum(node, v, n, below) {
  const [channels, size] = [node.shape[0], count(node.shape.slice(1))];
  const out = new Float64Array(v.length);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < channels; c++) {
      const first = Math.max(0, c - below);
      const end = Math.min(channels, c - below + node.size);
      for (let other = first; other < end; other++) {
        const [to, from] = [(i * channels + c) * size, (i * channels + other) * size];
        for (let p = 0; p < size; p++) out[to + p] += v[from + p];
      }
    }
  }
  return out;
}

/** @type {import("./types.js").Operation} */
export const localResponseNorm = {
  forward(node, [x], _arrays, n) {
    const d = denominators(node, x, n);
    return x.map((v, i) => v * d[i] ** -node.beta);
  },
  backward(node, dy, [x], _y, _arrays, n) {
    const d = denominators(node, x, n);
    const terms = dy.map((g, i) => g * x[i] * d[i] ** (-node.beta - 1));
    const moved = windowSum(node, terms, n, Math.floor((node.size - 1) / 2)); // mirrored
    const factor = (2 * node.alpha * node.beta) / node.size;
    return onlyInput(dy.map((g, i) => g * d[i] ** -node.beta - factor * x[i] * moved[i]));
  },
};
