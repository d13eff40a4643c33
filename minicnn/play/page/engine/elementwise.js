/**
 * Functions of each number by itself; the files of their names in minicnn/ops derive them.
 *
 * Each is given by its value f(x) and its slope f'(x), for which y = f(x) is at hand.
 */

import { onlyInput } from "./types.js";

/** @typedef {import("./types.js").Node} Node */

/**
 * Return the operation of a function and its slope.
 * @param {(x: number, node: Node) => number} value
 * @param {(x: number, y: number, node: Node) => number} slope
 * @returns {import("./types.js").Operation}
 */
function elementwise(value, slope) {
  return {
    forward: (node, [x]) => x.map((number) => value(number, node)),
    backward: (node, dy, [x], y) => onlyInput(dy.map((d, i) => d * slope(x[i], y[i], node))),
  };
}

/** The slopes by the operation's name, for those who explain a unit. */
export const SLOPES = {
  /** @type {(x: number, y: number, node: Node) => number} */
  relu: (x) => (x > 0 ? 1 : 0),
  /** @type {(x: number, y: number, node: Node) => number} */
  leaky_relu: (x, _y, node) => (x > 0 ? 1 : node.slope),
  /** @type {(x: number, y: number, node: Node) => number} */
  sigmoid: (_x, y) => y * (1 - y),
  /** @type {(x: number, y: number, node: Node) => number} */
  tanh: (_x, y) => 1 - y * y,
  /** @type {(x: number, y: number, node: Node) => number} */
  dropout: () => 1,
};

export const relu = elementwise((x) => (x > 0 || x !== x ? x : 0), SLOPES.relu);

export const leakyRelu = elementwise((x, node) => (x > 0 ? x : node.slope * x), SLOPES.leaky_relu);

export const sigmoid = elementwise((x) => {
  const e = Math.exp(-Math.abs(x)); // never too large
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}, SLOPES.sigmoid);

export const tanh = elementwise((x) => Math.tanh(x), SLOPES.tanh);

/** Dropout is off here, as in inference: what comes in goes out. */
export const dropout = elementwise((x) => x, SLOPES.dropout);
