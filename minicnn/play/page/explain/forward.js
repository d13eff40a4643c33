/**
 * Where a unit comes from: its window in the layer before, times its weights, and what is added.
 */

import { argmax, divisorOf, pixelsOf, regionOf } from "../engine/pooling.js";
import { denominators, statistics } from "../engine/normalise.js";
import { logSumExp } from "../engine/softmax.js";
import { SLOPES } from "../engine/elementwise.js";
import { count } from "../engine/types.js";
import { group, groupsOfVector, placeOf, term } from "./units.js";

/** @typedef {import("../engine/network.js").Network} Network */
/** @typedef {import("../engine/types.js").Node} Node */
/** @typedef {import("./units.js").Explanation} Explanation */
/** @typedef {import("./units.js").Group} Group */

/**
 * @typedef {object} Scene what a rule looks at
 * @property {Network} network
 * @property {Node} node
 * @property {Float64Array[]} ys outputs of all nodes
 * @property {Float64Array} x output of the node's first input
 * @property {number} y the unit
 * @property {number} at
 * @property {{map: number, row: number, column: number}} place
 */

/** @typedef {Partial<Explanation> & {groups: Group[]}} Part */

/**
 * Return the terms of a unit of a convolution: a group for each channel that it sees.
 * @param {Scene} scene
 * @returns {Part}
 */
function ofConvolution({ network, node, x, place }) {
  const { weight, bias } = network.arraysOf(node);
  const g = node.windows;
  const channels = node.from[0][0] / node.groups;
  const first = Math.floor(place.map / (node.shape[0] / node.groups)) * channels;
  const groups = Array.from({ length: channels }, (_, c) => {
    const terms = [];
    for (let r = 0; r < g.kh; r++) {
      for (let s = 0; s < g.kw; s++) {
        const p = place.row * g.sh + r * g.dh - g.top;
        const q = place.column * g.sw + s * g.dw - g.left;
        const inside = p >= 0 && p < g.h && q >= 0 && q < g.w;
        const at = inside ? ((first + c) * g.h + p) * g.w + q : -1;
        const factor = weight[((place.map * channels + c) * g.kh + r) * g.kw + s];
        terms.push(term(node.inputs[0], at, inside ? x[at] : 0, factor));
      }
    }
    return group(`map ${first + c}`, g.kw, terms);
  });
  const extras = bias ? [{ label: "bias", value: bias[place.map] }] : [];
  return {
    groups,
    extras,
    value: "window",
    factor: "kernel",
    note: "The window in each map, times the kernel, summed over all maps. The kernel of a map "
      + "is the same at every place.",
  };
}

/** @param {Scene} scene @returns {Part} */
function ofLinear({ network, node, x, at }) {
  const { weight, bias } = network.arraysOf(node);
  const outputs = node.shape[node.shape.length - 1];
  const inputs = weight.length / outputs;
  const [row, output] = [Math.floor(at / outputs), at % outputs];
  const terms = Array.from({ length: inputs }, (_, i) =>
    term(node.inputs[0], row * inputs + i, x[row * inputs + i], weight[output * inputs + i]),
  );
  return {
    groups: groupsOfVector(network, node.inputs[0], terms),
    extras: bias ? [{ label: "bias", value: bias[output] }] : [],
    value: "inputs",
    factor: "weights",
    note: "Every number of the layer before, times its own weight, summed.",
  };
}

/** @param {Scene} scene @returns {Part} */
function ofPool({ node, x, place }) {
  const [, h, w] = node.from[0];
  const adaptive = node.op === "adaptive_avg_pool2d";
  const { row, column } = place;
  const pixels = adaptive ? regionOf(node, row, column) : pixelsOf(node.windows, row, column);
  const start = place.map * h * w;
  const largest = node.op === "max_pool2d";
  const best = argmax(x, start, pixels);
  const share = 1 / divisorOf(node, pixels, row * node.shape[2] + column);
  const terms = pixels.map((pixel) => {
    const factor = largest ? +(pixel === best) : share;
    return term(node.inputs[0], start + pixel, x[start + pixel], factor);
  });
  const columns = new Set(pixels.map((pixel) => pixel % w)).size || 1;
  return {
    groups: [group(`map ${place.map}`, columns, terms)],
    value: "window",
    factor: largest ? "is it the largest?" : "share",
    note: largest
      ? "The largest number of the window goes on, the others do not."
      : "The mean of the window.",
  };
}

/** What each function does, in a sentence. @type {Object<string, (x: number) => string>} */
const SENTENCES = {
  relu: (x) => (x > 0 ? "It is positive, so ReLU keeps it." : "It is not positive: ReLU gives 0."),
  leaky_relu: (x) => (x > 0 ? "It is positive and stays." : "It is not positive and shrinks."),
  gelu: () => "GELU multiplies it by the probability that a normal number is below it.",
  sigmoid: () => "Sigmoid, 1 / (1 + exp(-x)), brings it between 0 and 1.",
  tanh: () => "tanh brings it between -1 and 1.",
  dropout: () => "Dropout is off, as in inference: the number goes on unchanged.",
};

/** @param {Scene} scene @returns {Part} */
function ofFunction({ node, x, y, at }) {
  const linear = !["gelu", "sigmoid", "tanh"].includes(node.op);
  const factor = linear ? SLOPES[/** @type {"relu"} */ (node.op)](x[at], y, node) : null;
  return {
    groups: [group(node.name, 1, [term(node.inputs[0], at, x[at], factor, y)])],
    value: "x",
    factor: "factor",
    note: SENTENCES[node.op](x[at]),
  };
}

/** @param {Scene} scene @returns {Part} */
function ofBatchNorm({ network, node, x, at, place }) {
  const arrays = network.arraysOf(node);
  const { mean, scale } = statistics(node, x, arrays, place.map);
  const factor = scale * (arrays.weight ? arrays.weight[place.map] : 1);
  const extras = [{ label: "minus mean × factor", value: -mean * factor }];
  if (arrays.bias) extras.push({ label: "bias", value: arrays.bias[place.map] });
  return {
    groups: [group(`map ${place.map}`, 1, [term(node.inputs[0], at, x[at], factor)])],
    extras,
    value: "x",
    factor: "weight / standard deviation",
    note: "The mean of the channel is taken away, the rest is divided by its standard deviation; "
      + (arrays.mean ? "both ran along in training." : "both are those of this image."),
  };
}

/** @param {Scene} scene @returns {Part} */
function ofLocalResponseNorm({ node, x, at, place }) {
  const d = denominators(node, x, 1)[at];
  return {
    groups: [group(`map ${place.map}`, 1, [term(node.inputs[0], at, x[at], d ** -node.beta)])],
    value: "x",
    factor: "shrinks by",
    note: `The squares of ${node.size} neighbour channels give d = ${d.toPrecision(4)}; the `
      + `number is divided by d to the power of ${node.beta}.`,
  };
}

/** @param {Scene} scene @returns {Part} */
function ofSoftmax({ node, x, y, at }) {
  const size = count(node.shape.slice(1));
  const all = logSumExp(x, at % size, size, node.shape[0]);
  if (node.op === "softmax") {
    return {
      groups: [group(node.name, 1, [term(node.inputs[0], at, x[at], null, y)])],
      value: "logit",
      factor: "",
      note: "exp of the logit, divided by the sum of exp over all classes.",
    };
  }
  return {
    groups: [group(node.name, 1, [term(node.inputs[0], at, x[at], 1)])],
    extras: [{ label: "minus log of the sum of exp", value: -all }],
    value: "logit",
    factor: "factor",
    note: "The logarithm of the probability: the logit, less what all classes have together.",
  };
}

/** @param {Scene} scene @returns {Part} */
function ofSum({ network, node, ys, at }) {
  return {
    groups: node.inputs.map((from) =>
      group(network.nodes[from].name, 1, [term(from, at, ys[from][at], 1)]),
    ),
    value: "branch",
    factor: "factor",
    note: "The main branch and the shortcut are added.",
  };
}

/** @param {Scene} scene @returns {Part} */
function ofConcat({ network, node, ys, at }) {
  let [which, inside] = [0, at];
  while (inside >= count(node.from[which])) inside -= count(node.from[which++]);
  const from = node.inputs[which];
  return {
    groups: [group(network.nodes[from].name, 1, [term(from, inside, ys[from][inside], 1)])],
    value: "branch",
    factor: "factor",
    note: `The branches lie one after the other; this is a number of branch ${which}.`,
  };
}

/** @param {Scene} scene @returns {Part} */
function ofCopy({ node, x, place, at }) {
  let from = at;
  let note = "The same number: the maps now stand in one row.";
  if (node.op === "zero_pad_shortcut") {
    const [c, h, w] = node.from[0];
    note = "The shortcut takes every pixel at the stride.";
    from = (place.map * h + place.row * node.stride) * w + place.column * node.stride;
    if (place.map >= c) return { groups: [], note: "A channel of zeros, which the shortcut adds." };
  }
  return {
    groups: [group(node.name, 1, [term(node.inputs[0], from, x[from], 1)])],
    value: "x",
    factor: "factor",
    note,
  };
}

/** @type {Object<string, (scene: Scene) => Part>} */
const RULES = {
  conv2d: ofConvolution,
  linear: ofLinear,
  max_pool2d: ofPool,
  avg_pool2d: ofPool,
  adaptive_avg_pool2d: ofPool,
  relu: ofFunction,
  leaky_relu: ofFunction,
  gelu: ofFunction,
  sigmoid: ofFunction,
  tanh: ofFunction,
  dropout: ofFunction,
  batch_norm: ofBatchNorm,
  local_response_norm: ofLocalResponseNorm,
  softmax: ofSoftmax,
  log_softmax: ofSoftmax,
  add: ofSum,
  concat: ofConcat,
  flatten: ofCopy,
  zero_pad_shortcut: ofCopy,
  image: ({ y }) => ({
    groups: [],
    extras: [{ label: "pixel", value: y }],
    note: "A pixel, less the mean of the training images, divided by their standard deviation.",
  }),
};

/**
 * Return where a unit's number comes from.
 * @param {Network} network @param {Float64Array[]} ys @param {import("./units.js").Unit} unit
 * @returns {Explanation}
 */
export function explainForward(network, ys, unit) {
  const node = network.nodes[unit.node];
  const y = ys[unit.node][unit.at];
  const place = placeOf(node.shape, unit.at);
  const x = ys[node.inputs[0] ?? 0];
  const part = RULES[node.op]({ network, node, ys, x, y, at: unit.at, place });
  return { extras: [], value: "x", factor: "factor", note: "", ...part, total: y };
}
