/**
 * A linear layer on the last axis: y = x weightᵀ + bias, as minicnn/ops/linear.py derives it.
 *
 *     dx = dy weight,   dweight = dyᵀ x,   dbias = the sums of dy
 */

import { addProduct, transpose } from "./matmul.js";

/** @type {import("./types.js").Operation} */
export const linear = {
  forward(node, [x], { weight, bias }) {
    const outputs = node.shape[node.shape.length - 1];
    const inputs = weight.length / outputs;
    const rows = x.length / inputs;
    const y = new Float64Array(rows * outputs);
    for (let r = 0; r < rows; r++) {
      for (let o = 0; o < outputs; o++) {
        let total = bias ? bias[o] : 0;
        for (let i = 0; i < inputs; i++) total += x[r * inputs + i] * weight[o * inputs + i];
        y[r * outputs + o] = total;
      }
    }
    return y;
  },

  backward(node, dy, [x], _y, { weight, bias }) {
    const outputs = node.shape[node.shape.length - 1];
    const inputs = weight.length / outputs;
    const rows = x.length / inputs;
    const dx = new Float64Array(x.length);
    addProduct(dy, weight, dx, rows, outputs, inputs);
    const dweight = new Float64Array(weight.length);
    addProduct(transpose(dy, rows, outputs), x, dweight, outputs, rows, inputs);
    /** @type {import("./types.js").Arrays} */
    const darrays = { weight: dweight };
    if (bias) {
      const dbias = (darrays.bias = new Float64Array(outputs));
      for (let i = 0; i < dy.length; i++) dbias[i % outputs] += dy[i];
    }
    return { dxs: [dx], darrays };
  },
};
