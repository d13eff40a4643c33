/**
 * What joins and reshapes: the sum of a residual block, the concatenation of branches, flatten,
 * and the shortcut that pads with zeros. See minicnn/nn: residual.py, concat.py, flatten.py.
 */

import { count, onlyInput } from "./types.js";

/** @typedef {import("./types.js").Node} Node */

/** A sum hands the same gradient to each branch. @type {import("./types.js").Operation} */
export const add = {
  forward: (_node, [a, b]) => a.map((v, i) => v + b[i]),
  backward: (_node, dy) => ({ dxs: [dy, dy], darrays: {} }),
};

/** Flatten keeps the numbers and their order. @type {import("./types.js").Operation} */
export const flatten = {
  forward: (_node, [x]) => x,
  backward: (_node, dy) => onlyInput(dy),
};

/** Backward cuts where forward joined. @type {import("./types.js").Operation} */
export const concat = {
  forward(node, xs, _arrays, n) {
    const y = new Float64Array(n * count(node.shape));
    for (let i = 0, at = 0; i < n; i++) {
      xs.forEach((x, branch) => {
        const size = count(node.from[branch]);
        y.set(x.subarray(i * size, (i + 1) * size), at);
        at += size;
      });
    }
    return y;
  },
  backward(node, dy, xs, _y, _arrays, n) {
    const dxs = xs.map((x) => new Float64Array(x.length));
    for (let i = 0, at = 0; i < n; i++) {
      dxs.forEach((dx, branch) => {
        const size = count(node.from[branch]);
        dx.set(dy.subarray(at, at + size), i * size);
        at += size;
      });
    }
    return { dxs, darrays: {} };
  },
};

/**
 * Call `visit` for each number that the shortcut takes: where it was, and where it goes.
 * @param {Node} node @param {number} n @param {(from: number, to: number) => void} visit
 */
function eachTaken(node, n, visit) {
  const [[c, h, w], [channels, oh, ow]] = [node.from[0], node.shape];
  for (let map = 0; map < n * c; map++) {
    const out = Math.floor(map / c) * channels + (map % c);
    for (let i = 0; i < oh; i++) {
      for (let j = 0; j < ow; j++) {
        const from = (map * h + i * node.stride) * w + j * node.stride;
        visit(from, (out * oh + i) * ow + j);
      }
    }
  }
}

/** Every stride-th pixel, and channels of zeros. @type {import("./types.js").Operation} */
export const zeroPadShortcut = {
  forward(node, [x], _arrays, n) {
    const y = new Float64Array(n * count(node.shape));
    eachTaken(node, n, (from, to) => (y[to] = x[from]));
    return y;
  },
  backward(node, dy, [x], _y, _arrays, n) {
    const dx = new Float64Array(x.length);
    eachTaken(node, n, (from, to) => (dx[from] = dy[to]));
    return onlyInput(dx);
  },
};
