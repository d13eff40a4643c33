/**
 * The network: nodes in a row, run forward in order and backward from the end.
 *
 * A value that several nodes read receives the sum of their gradients.
 */

import { conv2d } from "./conv2d.js";
import { dropout, gelu, leakyRelu, relu, sigmoid, tanh } from "./elementwise.js";
import { add, concat, flatten, zeroPadShortcut } from "./joins.js";
import { linear } from "./linear.js";
import { batchNorm, localResponseNorm } from "./normalise.js";
import { avgPool2d, maxPool2d } from "./pooling.js";
import { logSoftmax, softmax } from "./softmax.js";

/** @typedef {import("./types.js").Node} Node */
/** @typedef {import("./types.js").Arrays} Arrays */

/** @type {Object<string, import("./types.js").Operation>} */
export const OPERATIONS = {
  adaptive_avg_pool2d: avgPool2d,
  add,
  avg_pool2d: avgPool2d,
  batch_norm: batchNorm,
  concat,
  conv2d,
  dropout,
  flatten,
  gelu,
  leaky_relu: leakyRelu,
  linear,
  local_response_norm: localResponseNorm,
  log_softmax: logSoftmax,
  max_pool2d: maxPool2d,
  relu,
  sigmoid,
  softmax,
  tanh,
  zero_pad_shortcut: zeroPadShortcut,
};

export class Network {
  /**
   * @param {Node[]} nodes in the order in which they run; the first is the image
   * @param {Arrays} arrays all weights and running statistics by name
   */
  constructor(nodes, arrays) {
    this.nodes = nodes.map((node) => ({
      ...node,
      arrays: node.arrays ?? {},
      from: node.inputs.map((i) => nodes[i].shape),
    }));
    this.arrays = arrays;
    /** Names of what is learned: running statistics are not. */
    this.learned = [...new Set(this.nodes.flatMap(({ arrays: own }) =>
      Object.keys(own).filter((role) => role === "weight" || role === "bias").map((r) => own[r]),
    ))];
    /** Whether images of a batch meet, since a batch norm has no running statistics. */
    this.meets = this.nodes.some((node) => node.op === "batch_norm" && !node.arrays.mean);
  }

  /**
   * Return the weights of a node by their role.
   * @param {Node} node
   * @returns {Arrays}
   */
  arraysOf(node) {
    return Object.fromEntries(
      Object.entries(node.arrays).map(([role, name]) => [role, this.arrays[name]]),
    );
  }

  /**
   * Run node by node, and return the outputs of all nodes at the end. Who calls may rest between.
   * @param {Float64Array} x n images @param {number} n
   * @returns {Generator<number, Float64Array[], void>}
   */
  *forwardInSteps(x, n = 1) {
    const ys = [x];
    for (let i = 1; i < this.nodes.length; i++) {
      const node = this.nodes[i];
      const inputs = node.inputs.map((k) => ys[k]);
      ys.push(OPERATIONS[node.op].forward(node, inputs, this.arraysOf(node), n));
      yield i;
    }
    return ys;
  }

  /**
   * Return the outputs of all nodes; the last is that of the network.
   * @param {Float64Array} x n images @param {number} n
   */
  forward(x, n = 1) {
    return finish(this.forwardInSteps(x, n));
  }

  /**
   * Return the gradients with respect to every output and every weight, node by node.
   * @param {Float64Array[]} ys what forward gave @param {Float64Array} dlast of the last output
   * @param {number} n
   * @returns {Generator<number, {dys: Float64Array[], darrays: Arrays}, void>}
   */
  *backwardInSteps(ys, dlast, n = 1) {
    const dys = ys.map(() => /** @type {Float64Array | undefined} */ (undefined));
    /** @type {Arrays} */
    const darrays = {};
    dys[dys.length - 1] = dlast;
    for (let i = this.nodes.length - 1; i > 0; i--) {
      const node = this.nodes[i];
      const dy = dys[i] ?? new Float64Array(ys[i].length);
      dys[i] = dy;
      const inputs = node.inputs.map((k) => ys[k]);
      const own = OPERATIONS[node.op].backward(node, dy, inputs, ys[i], this.arraysOf(node), n);
      node.inputs.forEach((k, which) => (dys[k] = sum(dys[k], own.dxs[which])));
      for (const [role, gradient] of Object.entries(own.darrays)) {
        const name = node.arrays[role];
        darrays[name] = sum(darrays[name], gradient);
      }
      yield i;
    }
    return { dys: /** @type {Float64Array[]} */ (dys), darrays };
  }

  /**
   * Return the gradients with respect to every output (`dys`) and every weight (`darrays`).
   * @param {Float64Array[]} ys @param {Float64Array} dlast @param {number} n
   */
  backward(ys, dlast, n = 1) {
    return finish(this.backwardInSteps(ys, dlast, n));
  }

  /**
   * Move every weight against its gradient: one step of plain SGD.
   * @param {Arrays} darrays @param {number} rate
   */
  step(darrays, rate) {
    for (const [name, gradient] of Object.entries(darrays)) {
      this.arrays[name] = this.arrays[name].map((w, i) => w - rate * gradient[i]);
    }
  }
}

/**
 * Run a generator to its end and return its result.
 * @template T
 * @param {Generator<number, T, void>} steps
 * @returns {T}
 */
export function finish(steps) {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/**
 * Return the sum as a new array; of one array itself.
 * @param {Float64Array | undefined} a @param {Float64Array} b
 */
function sum(a, b) {
  return a ? a.map((v, i) => v + b[i]) : b;
}
