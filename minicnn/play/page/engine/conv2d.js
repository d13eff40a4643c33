/**
 * Convolution as a product of matrices. The derivation stands in minicnn/ops/conv2d.
 *
 *     columns (c * kh * kw, oh * ow)   every window of the image is one column (im2col)
 *     y       = weight columns + bias
 *     dweight = dy columnsᵀ,   dbias = the sums of dy,   dcolumns = weightᵀ dy
 *
 * and dx collects dcolumns where the windows overlap (col2im). Groups are convolutions of their
 * own, on parts of the channels.
 */

import { addProduct, transpose } from "./matmul.js";

/** @typedef {import("./types.js").Node} Node */
/** @typedef {import("./types.js").Windows} Windows */

/**
 * Call `visit` for each row of taps: where it begins in the columns and in the image.
 *
 * From `first` to `end` the taps lie inside the image; others lie in the padding.
 * @param {Windows} g @param {number} channels
 * @param {(column: number, pixel: number, first: number, end: number) => void} visit
 */
function eachRow(g, channels, visit) {
  let column = 0;
  for (let c = 0; c < channels; c++) {
    for (let r = 0; r < g.kh; r++) {
      for (let s = 0; s < g.kw; s++) {
        const shift = s * g.dw - g.left;
        const first = Math.max(0, Math.ceil(-shift / g.sw));
        const end = Math.min(g.ow, Math.floor((g.w - 1 - shift) / g.sw) + 1);
        for (let i = 0; i < g.oh; i++, column += g.ow) {
          const p = i * g.sh + r * g.dh - g.top;
          if (p >= 0 && p < g.h) visit(column, (c * g.h + p) * g.w + shift, first, end);
        }
      }
    }
  }
}

/**
 * Return the windows of one image as columns (channels * kh * kw, oh * ow); padding is 0.
 * @param {Float64Array} x @param {Windows} g @param {number} channels
 */
export function columnsOf(x, g, channels) {
  const columns = new Float64Array(channels * g.kh * g.kw * g.oh * g.ow);
  eachRow(g, channels, (column, pixel, first, end) => {
    for (let j = first; j < end; j++) columns[column + j] = x[pixel + j * g.sw];
  });
  return columns;
}

/**
 * Add columns into one image at the pixels that `columnsOf` took them from.
 * @param {Float64Array} columns @param {Windows} g @param {number} channels @param {Float64Array} dx
 */
function addColumns(columns, g, channels, dx) {
  eachRow(g, channels, (column, pixel, first, end) => {
    for (let j = first; j < end; j++) dx[pixel + j * g.sw] += columns[column + j];
  });
}

/**
 * Call `visit` for each image and group with the parts of the arrays that belong to it.
 * @param {Node} node @param {number} n
 * @param {(group: number, x: [number, number], y: [number, number]) => void} visit
 */
function eachGroup(node, n, visit) {
  const { windows: g, groups } = node;
  const inSize = (node.from[0][0] / groups) * g.h * g.w;
  const outSize = (node.shape[0] / groups) * g.oh * g.ow;
  for (let i = 0; i < n * groups; i++) {
    visit(i % groups, [i * inSize, (i + 1) * inSize], [i * outSize, (i + 1) * outSize]);
  }
}

/**
 * Return the sizes of the products of one group.
 * @param {Node} node
 */
function sizes(node) {
  const { windows: g, groups } = node;
  const channels = node.from[0][0] / groups;
  const k = channels * g.kh * g.kw;
  return { channels, k, out: node.shape[0] / groups, pixels: g.oh * g.ow };
}

/** @type {import("./types.js").Operation} */
export const conv2d = {
  forward(node, [x], { weight, bias }, n) {
    const { channels, k, out, pixels } = sizes(node);
    const y = new Float64Array(n * node.shape[0] * pixels);
    if (bias) {
      for (let i = 0; i < n * node.shape[0]; i++) {
        y.fill(bias[i % node.shape[0]], i * pixels, (i + 1) * pixels);
      }
    }
    eachGroup(node, n, (group, [x0, x1], [y0, y1]) => {
      const own = weight.subarray(group * out * k, (group + 1) * out * k);
      const columns = columnsOf(x.subarray(x0, x1), node.windows, channels);
      addProduct(own, columns, y.subarray(y0, y1), out, k, pixels);
    });
    return y;
  },

  backward(node, dy, [x], _y, { weight, bias }, n) {
    const { channels, k, out, pixels } = sizes(node);
    const dx = new Float64Array(x.length);
    const dweight = new Float64Array(weight.length);
    eachGroup(node, n, (group, [x0, x1], [y0, y1]) => {
      const [from, to] = [group * out * k, (group + 1) * out * k];
      const part = dy.subarray(y0, y1);
      const columns = columnsOf(x.subarray(x0, x1), node.windows, channels);
      addProduct(part, transpose(columns, k, pixels), dweight.subarray(from, to), out, pixels, k);
      const dcolumns = new Float64Array(k * pixels);
      addProduct(transpose(weight.subarray(from, to), out, k), part, dcolumns, k, out, pixels);
      addColumns(dcolumns, node.windows, channels, dx.subarray(x0, x1));
    });
    /** @type {import("./types.js").Arrays} */
    const darrays = { weight: dweight };
    if (bias) {
      const dbias = (darrays.bias = new Float64Array(bias.length));
      for (let i = 0; i < dy.length; i++) dbias[Math.floor(i / pixels) % bias.length] += dy[i];
    }
    return { dxs: [dx], darrays };
  },
};
