/**
 * What the operations share: the node that says what to do, and the numbers it works on.
 *
 * Every operation has a `forward` and a `backward`. Both are pure: they read arrays and return new
 * ones. An array holds n images one after the other, each in the order (c, h, w).
 *
 *     forward(node, xs, arrays, n) -> y
 *     backward(node, dy, xs, y, arrays, n) -> { dxs, darrays }
 *
 * `xs` are the outputs of the nodes that this one reads, `dxs` their gradients in the same order;
 * `arrays` are the weights of the node by their role, `darrays` their gradients.
 */

/**
 * Where the windows of a convolution or a pool lie; see minicnn/windows.py.
 * @typedef {{h: number, w: number, kh: number, kw: number, sh: number, sw: number, dh: number,
 *   dw: number, top: number, left: number, oh: number, ow: number}} Windows
 */

/**
 * One operation of the network.
 * @typedef {object} Node
 * @property {string} op the operation's name, as in minicnn.ops
 * @property {string} name the layer's path in the network
 * @property {string} kind the layer's class
 * @property {number[]} inputs the nodes that this one reads
 * @property {number[]} shape of the output, without the batch
 * @property {number[][]} from shapes of the inputs, without the batch
 * @property {Object<string, string>} arrays names of the weights by their role
 * @property {Windows} windows
 * @property {number} groups
 * @property {number[]} divisor
 * @property {number} eps
 * @property {number} size
 * @property {number} alpha
 * @property {number} beta
 * @property {number} k
 * @property {number} slope
 * @property {string} approximate
 * @property {number} stride
 * @property {number} p
 */

/** @typedef {Object<string, Float64Array>} Arrays */
/** @typedef {{dxs: Float64Array[], darrays: Arrays}} Gradients */

/**
 * @typedef {object} Operation
 * @property {(node: Node, xs: Float64Array[], arrays: Arrays, n: number) => Float64Array} forward
 * @property {(node: Node, dy: Float64Array, xs: Float64Array[], y: Float64Array, arrays: Arrays,
 *   n: number) => Gradients} backward
 */

/**
 * Return how many numbers an array of this shape has.
 * @param {number[]} shape
 */
export function count(shape) {
  return shape.reduce((product, side) => product * side, 1);
}

/**
 * Return the gradients of an operation with one input and no weights.
 * @param {Float64Array} dx
 * @returns {Gradients}
 */
export function onlyInput(dx) {
  return { dxs: [dx], darrays: {} };
}
