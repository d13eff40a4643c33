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

const K = Math.sqrt(2 / Math.PI); // as in minicnn/ops/gelu.py
const A = 0.044715;

/**
 * Return the error function, by its series of terms that are all of one sign.
 * @param {number} x
 */
function erf(x) {
  const size = Math.abs(x);
  if (size > 6) return Math.sign(x); // 1 to the last digit
  let sum = size;
  for (let n = 1, term = size; term > 1e-17 * sum; n += 1) {
    term *= (2 * size * size) / (2 * n + 1);
    sum += term;
  }
  return (Math.sign(x) * 2 * Math.exp(-size * size) * sum) / Math.sqrt(Math.PI);
}

/**
 * Return the probability that a normal number is below x, or what stands for it, and its slope.
 * @param {number} x
 * @param {Node} node
 * @returns {[number, number]}
 */
function normal(x, node) {
  if (node.approximate === "tanh") {
    const t = Math.tanh(K * (x + A * x * x * x));
    return [(1 + t) / 2, ((1 - t * t) / 2) * K * (1 + 3 * A * x * x)];
  }
  return [(1 + erf(x / Math.SQRT2)) / 2, Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)];
}

/** The slopes by the operation's name, for those who explain a unit. */
export const SLOPES = {
  /** @type {(x: number, y: number, node: Node) => number} */
  relu: (x) => (x > 0 ? 1 : 0),
  /** @type {(x: number, y: number, node: Node) => number} */
  leaky_relu: (x, _y, node) => (x > 0 ? 1 : node.slope),
  /** @type {(x: number, y: number, node: Node) => number} */
  gelu: (x, _y, node) => {
    const [probability, density] = normal(x, node);
    return probability + x * density;
  },
  /** @type {(x: number, y: number, node: Node) => number} */
  sigmoid: (_x, y) => y * (1 - y),
  /** @type {(x: number, y: number, node: Node) => number} */
  tanh: (_x, y) => 1 - y * y,
  /** @type {(x: number, y: number, node: Node) => number} */
  dropout: () => 1,
};

export const relu = elementwise((x) => (x > 0 || x !== x ? x : 0), SLOPES.relu);

export const leakyRelu = elementwise((x, node) => (x > 0 ? x : node.slope * x), SLOPES.leaky_relu);

export const gelu = elementwise((x, node) => x * normal(x, node)[0], SLOPES.gelu);

export const sigmoid = elementwise((x) => {
  const e = Math.exp(-Math.abs(x)); // never too large
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}, SLOPES.sigmoid);

export const tanh = elementwise((x) => Math.tanh(x), SLOPES.tanh);

/** Dropout is off here, as in inference: what comes in goes out. */
export const dropout = elementwise((x) => x, SLOPES.dropout);
