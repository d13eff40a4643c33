/**
 * Softmax, its logarithm, and cross-entropy, as the files of these names in minicnn/ops derive
 * them.
 */

import { count, onlyInput } from "./types.js";

/** @typedef {import("./types.js").Node} Node */

/**
 * Call `visit` for each pixel: its first channel, and the distance to the next one.
 * @param {Node} node @param {number} n @param {(first: number, step: number) => void} visit
 */
function eachPixel(node, n, visit) {
  const [channels, size] = [node.shape[0], count(node.shape.slice(1))];
  for (let i = 0; i < n; i++) {
    for (let p = 0; p < size; p++) visit(i * channels * size + p, size);
  }
}

/**
 * Return log(sum of exp(x)) over the channels of one pixel; the largest is taken out first.
 * @param {Float64Array} x @param {number} first @param {number} step @param {number} channels
 */
export function logSumExp(x, first, step, channels) {
  let [most, total] = [-Infinity, 0];
  for (let c = 0; c < channels; c++) most = Math.max(most, x[first + c * step]);
  for (let c = 0; c < channels; c++) total += Math.exp(x[first + c * step] - most);
  return most + Math.log(total);
}

/** @type {import("./types.js").Operation} */
export const logSoftmax = {
  forward(node, [x], _arrays, n) {
    const y = new Float64Array(x.length);
    eachPixel(node, n, (first, step) => {
      const all = logSumExp(x, first, step, node.shape[0]);
      for (let c = 0; c < node.shape[0]; c++) y[first + c * step] = x[first + c * step] - all;
    });
    return y;
  },
  backward(node, dy, _xs, y, _arrays, n) {
    const dx = new Float64Array(y.length);
    eachPixel(node, n, (first, step) => {
      let total = 0;
      for (let c = 0; c < node.shape[0]; c++) total += dy[first + c * step];
      for (let c = 0; c < node.shape[0]; c++) {
        const at = first + c * step;
        dx[at] = dy[at] - Math.exp(y[at]) * total;
      }
    });
    return onlyInput(dx);
  },
};

/** @type {import("./types.js").Operation} */
export const softmax = {
  forward(node, xs, arrays, n) {
    return logSoftmax.forward(node, xs, arrays, n).map(Math.exp);
  },
  backward(node, dy, _xs, y, _arrays, n) {
    const dx = new Float64Array(y.length);
    eachPixel(node, n, (first, step) => {
      let mean = 0;
      for (let c = 0; c < node.shape[0]; c++) mean += dy[first + c * step] * y[first + c * step];
      for (let c = 0; c < node.shape[0]; c++) {
        const at = first + c * step;
        dx[at] = y[at] * (dy[at] - mean);
      }
    });
    return onlyInput(dx);
  },
};

/**
 * Return the mean loss of n images, its gradient with respect to the logits, and probabilities.
 *
 *     loss = log(sum of exp(logits)) - logit of the target,   dlogits = (p - target) / n
 * @param {Float64Array} logits @param {number[]} targets the class of each image
 */
export function crossEntropy(logits, targets) {
  const n = targets.length;
  const classes = logits.length / n;
  const probabilities = new Float64Array(logits.length);
  const dlogits = new Float64Array(logits.length);
  let loss = 0;
  for (let i = 0; i < n; i++) {
    const all = logSumExp(logits, i * classes, 1, classes);
    loss += (all - logits[i * classes + targets[i]]) / n;
    for (let c = 0; c < classes; c++) {
      const at = i * classes + c;
      probabilities[at] = Math.exp(logits[at] - all);
      dlogits[at] = (probabilities[at] - (c === targets[i] ? 1 : 0)) / n;
    }
  }
  return { loss, dlogits, probabilities };
}
