/**
 * Where a unit's gradient comes from, and what it gives to its weights.
 *
 * The gradient is the sum, over every unit above that this one feeds, of that unit's gradient times
 * how much this one moves it. At the end stands the loss.
 */

import { SLOPES } from "../engine/elementwise.js";
import { OPERATIONS } from "../engine/network.js";
import { statistics } from "../engine/normalise.js";
import { argmax, divisorOf, pixelsOf, regionOf } from "../engine/pooling.js";
import { count } from "../engine/types.js";
import { explainForward } from "./forward.js";
import { columnsOfVector, group, placeOf, term } from "./units.js";

/** @typedef {import("../engine/network.js").Network} Network */
/** @typedef {import("../engine/types.js").Node} Node */
/** @typedef {import("./units.js").Unit} Unit */
/** @typedef {import("./units.js").Explanation} Explanation */
/** @typedef {import("./units.js").Group} Group */

/**
 * @typedef {object} Above one node that reads the unit
 * @property {Network} network
 * @property {Node} node the node above
 * @property {number} which its number
 * @property {Float64Array} x what it reads: the output in which the unit stands
 * @property {Float64Array} y
 * @property {Float64Array} dy the gradient of its output
 * @property {number} at the unit's position in x
 * @property {{map: number, row: number, column: number}} place
 */

/**
 * Return the outputs whose windows hold the pixel: tap by tap, from the last to the first, so that
 * the outputs come from left to right. At -1 there is none.
 * @param {import("../engine/types.js").Windows} g @param {number} row @param {number} column
 */
function windowsOver(g, row, column) {
  const outputs = [];
  for (let r = g.kh - 1; r >= 0; r--) {
    for (let s = g.kw - 1; s >= 0; s--) {
      const [p, q] = [row + g.top - r * g.dh, column + g.left - s * g.dw];
      const [i, j] = [p / g.sh, q / g.sw];
      const inside = p % g.sh === 0 && q % g.sw === 0 && i >= 0 && i < g.oh && j >= 0 && j < g.ow;
      outputs.push({ tap: r * g.kw + s, at: inside ? i * g.ow + j : -1, i, j });
    }
  }
  return outputs;
}

/** @param {Above} above @returns {Group[]} */
function throughConvolution({ network, node, which, dy, place }) {
  const { weight } = network.arraysOf(node);
  const g = node.windows;
  const channels = node.from[0][0] / node.groups;
  const outputs = node.shape[0] / node.groups;
  const first = Math.floor(place.map / channels) * outputs;
  const windows = windowsOver(g, place.row, place.column);
  return Array.from({ length: outputs }, (_, k) => {
    const o = first + k;
    const start = (o * channels + (place.map % channels)) * g.kh * g.kw;
    const terms = windows.map(({ tap, at }) => {
      const to = at < 0 ? -1 : o * g.oh * g.ow + at;
      return term(which, to, to < 0 ? 0 : dy[to], weight[start + tap]);
    });
    return group(`${node.name}, map ${o}`, g.kw, terms);
  });
}

/** @param {Above} above @returns {Group[]} */
function throughLinear({ network, node, which, dy, at }) {
  const { weight } = network.arraysOf(node);
  const outputs = node.shape[node.shape.length - 1];
  const inputs = weight.length / outputs;
  const [row, input] = [Math.floor(at / inputs), at % inputs];
  const terms = Array.from({ length: outputs }, (_, o) =>
    term(which, row * outputs + o, dy[row * outputs + o], weight[o * inputs + input]),
  );
  return [group(node.name, columnsOfVector(outputs), terms)];
}

/** @param {Above} above @returns {Group[]} */
function throughPool({ node, which, x, dy, place }) {
  const [[, h, w], [, oh, ow]] = [node.from[0], node.shape];
  const pixel = place.row * w + place.column;
  const terms = [];
  for (let i = 0; i < oh; i++) {
    for (let j = 0; j < ow; j++) {
      const adaptive = node.op === "adaptive_avg_pool2d";
      const pixels = adaptive ? regionOf(node, i, j) : pixelsOf(node.windows, i, j);
      if (!pixels.includes(pixel)) continue;
      const best = argmax(x, place.map * h * w, pixels) === pixel;
      const share = 1 / divisorOf(node, pixels, i * ow + j);
      const at = (place.map * oh + i) * ow + j;
      terms.push(term(which, at, dy[at], node.op === "max_pool2d" ? +best : share));
    }
  }
  const columns = new Set(terms.map(({ at }) => at % ow)).size || 1;
  return [group(`${node.name}, map ${place.map}`, columns, terms)];
}

/**
 * Return one term whose factor is how much the number above moves with this one.
 * @param {Above} above @param {number} factor @param {number} at
 * @returns {Group[]}
 */
function single({ node, which, dy }, factor, at) {
  return [group(node.name, 1, [term(which, at, dy[at], factor)])];
}

/**
 * Return one term where all numbers above move with this one: what passes straight, and the rest.
 * @param {Above} above
 * @returns {Group[]}
 */
function throughMany({ network, node, which, x, y, dy, at }) {
  const { dxs } = OPERATIONS[node.op].backward(node, dy, [x], y, network.arraysOf(node), 1);
  return [group(`${node.name} (all of it moves)`, 1, [term(which, at, dy[at], null, dxs[0][at])])];
}

/** @param {Above} above @returns {Group[]} */
function throughBatchNorm(above) {
  const { network, node, x, at, place } = above;
  const arrays = network.arraysOf(node);
  if (!arrays.mean) return throughMany(above);
  const { scale } = statistics(node, x, arrays, place.map);
  return single(above, scale * (arrays.weight ? arrays.weight[place.map] : 1), at);
}

/** @param {Above} above @returns {Group[]} */
function throughFunction(above) {
  const { node, x, y, at } = above;
  return single(above, SLOPES[/** @type {"relu"} */ (node.op)](x[at], y[at], node), at);
}

/** @param {Above} above @returns {Group[]} */
function throughShortcut(above) {
  const { node, place } = above;
  const { stride, shape: [, oh, ow] } = node;
  if (place.row % stride || place.column % stride) return [];
  const at = (place.map * oh + place.row / stride) * ow + place.column / stride;
  return single(above, 1, at);
}

/** @type {Object<string, (above: Above) => Group[]>} */
const RULES_OF_GRADIENTS = {
  conv2d: throughConvolution,
  linear: throughLinear,
  max_pool2d: throughPool,
  avg_pool2d: throughPool,
  adaptive_avg_pool2d: throughPool,
  relu: throughFunction,
  leaky_relu: throughFunction,
  gelu: throughFunction,
  sigmoid: throughFunction,
  tanh: throughFunction,
  dropout: throughFunction,
  batch_norm: throughBatchNorm,
  local_response_norm: throughMany,
  softmax: throughMany,
  log_softmax: throughMany,
  add: (above) => single(above, 1, above.at),
  flatten: (above) => single(above, 1, above.at),
  zero_pad_shortcut: throughShortcut,
};

/**
 * Return where a unit's gradient comes from.
 * @param {Network} network @param {Float64Array[]} ys @param {Float64Array[]} dys
 * @param {Unit} unit @param {{probability: number, isTarget: boolean}} answer at the last layer
 * @returns {Explanation}
 */
export function explainBackward(network, ys, dys, unit, answer) {
  const total = dys[unit.node][unit.at];
  const place = placeOf(network.nodes[unit.node].shape, unit.at);
  if (unit.node === network.nodes.length - 1) {
    return {
      groups: [],
      extras: [
        { label: "probability of the class", value: answer.probability },
        { label: "less what it should be", value: answer.isTarget ? -1 : 0 },
      ],
      total,
      value: "",
      factor: "",
      note: "The loss pulls every logit by the probability less what it should be: 1 for the "
        + "right class, 0 for the others.",
    };
  }
  /** @type {Group[]} */
  const groups = [];
  network.nodes.forEach((node, which) => {
    let before = 0; // numbers of the branches before, in a concatenation
    node.inputs.forEach((from, branch) => {
      if (from === unit.node) {
        const above = {
          network, node, which, x: ys[from], y: ys[which], dy: dys[which], at: unit.at, place,
        };
        groups.push(...(node.op === "concat"
          ? single(above, 1, before + unit.at)
          : RULES_OF_GRADIENTS[node.op](above)));
      }
      before += count(node.from[branch]);
    });
  });
  return {
    groups,
    extras: [],
    total,
    value: "gradients above",
    factor: groups.some(({ terms }) => terms.length > 1) ? "weights" : "factor",
    note: "Every unit above that this one feeds sends its gradient back, times the weight between "
      + "them. A kernel is met from behind: it stands turned by half a turn.",
  };
}

/**
 * Return what a unit gives to the gradient of its weights: its gradient times its window.
 * @param {Network} network @param {Float64Array[]} ys @param {Float64Array[]} dys @param {Unit} unit
 * @returns {Group[]} empty for a unit without weights
 */
export function givenToWeights(network, ys, dys, unit) {
  if (!["conv2d", "linear"].includes(network.nodes[unit.node].op)) return [];
  const dy = dys[unit.node][unit.at];
  return explainForward(network, ys, unit).groups.map(({ label, columns, terms }) =>
    group(label, columns, terms.map(({ node, at, value }) => term(node, at, value, dy))),
  );
}
