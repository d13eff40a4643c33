/**
 * Receptive fields: which pixels of the image a unit sees, as a rectangle around all of them.
 */

import { placeOf } from "./units.js";

/** @typedef {import("../engine/types.js").Node} Node */

/** First and last row, first and last column. @typedef {[number, number, number, number]} Box */

/**
 * Return the box in the first input that a box of a node's output is made of.
 * @param {Node} node @param {Box} box
 * @returns {Box}
 */
function below(node, [top, bottom, left, right]) {
  const [, h, w] = node.from[0].length === 3 ? node.from[0] : [0, 1, 1];
  if (node.windows) {
    const g = node.windows;
    const [first, last] = [top * g.sh - g.top, bottom * g.sh - g.top + (g.kh - 1) * g.dh];
    const [start, end] = [left * g.sw - g.left, right * g.sw - g.left + (g.kw - 1) * g.dw];
    return [Math.max(first, 0), Math.min(last, h - 1), Math.max(start, 0), Math.min(end, w - 1)];
  }
  if (node.op === "adaptive_avg_pool2d") {
    const [, oh, ow] = node.shape;
    return [
      Math.floor((top * h) / oh), Math.ceil(((bottom + 1) * h) / oh) - 1,
      Math.floor((left * w) / ow), Math.ceil(((right + 1) * w) / ow) - 1,
    ];
  }
  if (node.op === "zero_pad_shortcut") {
    const { stride } = node;
    return [top * stride, bottom * stride, left * stride, right * stride];
  }
  if (node.op === "linear" && node.from[0].length === 3) return [top, bottom, 0, w - 1];
  if (["linear", "softmax", "log_softmax"].includes(node.op) || node.from[0].length !== 3) {
    return node.shape.length === 3 ? [top, bottom, left, right] : [0, h - 1, 0, w - 1];
  }
  return [top, bottom, left, right];
}

/**
 * Return the rectangle of the image that a unit sees; null for a pixel of the image itself.
 * @param {{nodes: Node[]}} network @param {import("./units.js").Unit} unit
 * @returns {Box | null}
 */
export function fieldOf(network, unit) {
  if (unit.node === 0) return null;
  const { row, column, map } = placeOf(network.nodes[unit.node].shape, unit.at);
  /** @type {(Box | undefined)[]} */
  const boxes = [];
  boxes[unit.node] = [row, row, column, column];
  for (let i = unit.node; i > 0; i--) {
    const [node, box] = [network.nodes[i], boxes[i]];
    if (!box) continue;
    for (const from of node.inputs) {
      let next = below({ ...node, from: [network.nodes[from].shape] }, box);
      if (node.op === "flatten" && i === unit.node) {
        const at = placeOf(network.nodes[from].shape, map);
        next = [at.row, at.row, at.column, at.column];
      } else if (node.op === "flatten") {
        const [, h, w] = network.nodes[from].shape;
        next = [0, (h ?? 1) - 1, 0, (w ?? 1) - 1];
      }
      boxes[from] = union(boxes[from], next);
    }
  }
  return boxes[0] ?? null;
}

/** @param {Box | undefined} a @param {Box} b @returns {Box} */
function union(a, b) {
  if (!a) return b;
  return [Math.min(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.max(a[3], b[3])];
}
