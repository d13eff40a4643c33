/** What the tests compare with minicnn. */

import { bytesOf } from "../../minicnn/play/page/content.js";
import { Network } from "../../minicnn/play/page/engine/network.js";
import { crossEntropy } from "../../minicnn/play/page/engine/softmax.js";
import { gradCam, oneHot, resize, saliency } from "../../minicnn/play/page/explain/attribution.js";
import { explainBackward, givenToWeights } from "../../minicnn/play/page/explain/backward.js";
import { fieldOf } from "../../minicnn/play/page/explain/field.js";
import { explainForward } from "../../minicnn/play/page/explain/forward.js";
import { NoDigit, prepareDigit } from "../../minicnn/play/page/prepare/digit.js";
import { greyOf } from "../../minicnn/play/page/prepare/paper.js";
import { prepare } from "../../minicnn/play/page/prepare/prepare.js";

/**
 * Return outputs, gradients and the weights after one step, as plain lists.
 * @param {{nodes: any[], arrays: Object<string, number[]>, x: number[], targets: number[],
 *   rate: number}} request
 */
export function measure({ nodes, arrays, x, targets, rate }) {
  /** @type {Object<string, Float64Array>} */
  const own = {};
  for (const [name, values] of Object.entries(arrays)) own[name] = Float64Array.from(values);
  const network = new Network(nodes, own);
  const ys = network.forward(Float64Array.from(x), targets.length);
  const { loss, dlogits } = crossEntropy(ys[ys.length - 1], targets);
  const { dys, darrays } = network.backward(ys, dlogits, targets.length);
  network.step(darrays, rate);
  return {
    loss,
    ys: ys.map((y) => Array.from(y)),
    dys: dys.map((dy) => Array.from(dy)),
    darrays: listed(darrays),
    arrays: listed(network.arrays),
  };
}

/**
 * Return a picture resized and cut for a network, as `prepare` does where it shows no digit.
 * @param {{h: number, w: number, rgba: string, image: [number, number, number],
 *   shorterSide: number | null}} request
 */
export function cutOut({ h, w, rgba, image, shorterSide }) {
  const content = /** @type {any} */ ({ form: null, shorterSide, image });
  return Array.from(prepare(bytesOf(rgba), h, w, content).image);
}

/** @param {Object<string, Float64Array>} arrays */
function listed(arrays) {
  return Object.fromEntries(Object.entries(arrays).map(([name, a]) => [name, Array.from(a)]));
}

/**
 * Return the prepared digit of each picture, or what is wrong with it.
 * @param {{like: string, h: number, w: number, rgba: string}[]} pictures
 */
export function prepared(pictures) {
  return pictures.map(({ like, h, w, rgba }) => {
    try {
      const { image, note } = prepareDigit(greyOf(bytesOf(rgba), h, w), like);
      return { image: Array.from(image), note };
    } catch (error) {
      if (error instanceof NoDigit) return { error: error.message };
      throw error;
    }
  });
}

/**
 * Return how far the sums of the explanations of units are from the units and their gradients.
 * @param {{nodes: any[], arrays: Object<string, number[]>, x: number[], targets: number[],
 *   units: [number, number][]}} request
 */
export function explained({ nodes, arrays, x, targets, units }) {
  /** @type {Object<string, Float64Array>} */
  const own = {};
  for (const [name, values] of Object.entries(arrays)) own[name] = Float64Array.from(values);
  const network = new Network(nodes, own);
  const ys = network.forward(Float64Array.from(x));
  const { dlogits, probabilities } = crossEntropy(ys[ys.length - 1], targets);
  const { dys, darrays } = network.backward(ys, dlogits);
  return units.map(([node, at]) => {
    const unit = { node, at };
    const answer = { probability: probabilities[at], isTarget: at === targets[0] };
    const given = givenToWeights(network, ys, dys, unit).flatMap(({ terms }) =>
      terms.map(({ product }) => product),
    );
    return {
      y: sumOf(explainForward(network, ys, unit)),
      dy: sumOf(explainBackward(network, ys, dys, unit, answer)),
      field: fieldOf(network, unit),
      given,
      ys: ys[node][at],
      dys: dys[node][at],
      darrays: listed(darrays),
    };
  });
}

/** @param {import("../../minicnn/play/page/explain/units.js").Explanation} explanation */
function sumOf({ groups, extras }) {
  return groups.reduce((sum, group) => sum + group.sum, 0)
    + extras.reduce((sum, { value }) => sum + value, 0);
}

/**
 * Return saliency and Grad-CAM, for one image.
 * @param {{nodes: any[], arrays: Object<string, number[]>, x: number[], target: number,
 *   layer: number, size: number[]}} request
 */
export function attributed({ nodes, arrays, x, target, layer, size }) {
  /** @type {Object<string, Float64Array>} */
  const own = {};
  for (const [name, values] of Object.entries(arrays)) own[name] = Float64Array.from(values);
  const network = new Network(nodes, own);
  const ys = network.forward(Float64Array.from(x));
  const { dys } = network.backward(ys, oneHot(ys[ys.length - 1].length, target));
  const cam = gradCam(ys[layer], dys[layer], network.nodes[layer].shape);
  return {
    saliency: Array.from(saliency(dys[0], network.nodes[0].shape)),
    cam: Array.from(cam),
    resized: Array.from(resize(cam, network.nodes[layer].shape.slice(1), size)),
  };
}
