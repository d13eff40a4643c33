/**
 * What moved the decision: saliency and Grad-CAM, as minicnn/insight/attribution.py has them.
 *
 * Both begin with the gradient of the score of one class, the network's output itself.
 */

/** @typedef {import("../engine/network.js").Network} Network */

/**
 * Return the gradient of one class's score with respect to the last output.
 * @param {number} classes @param {number} chosen
 */
export function oneHot(classes, chosen) {
  const dy = new Float64Array(classes);
  dy[chosen] = 1;
  return dy;
}

/**
 * Return how much each pixel would change the score: the largest size over the channels.
 * @param {Float64Array} dx gradient at the image @param {number[]} shape of the image
 */
export function saliency(dx, [c, h, w]) {
  const out = new Float64Array(h * w);
  for (let i = 0; i < c * h * w; i++) out[i % (h * w)] = Math.max(out[i % (h * w)], Math.abs(dx[i]));
  return out;
}

/**
 * Return which places of a layer speak for the class, at the size of the layer's maps.
 * @param {Float64Array} y the layer's maps @param {Float64Array} dy gradient of the score there
 * @param {number[]} shape of the maps
 */
export function gradCam(y, dy, [c, h, w]) {
  const out = new Float64Array(h * w);
  for (let k = 0; k < c; k++) {
    let mean = 0;
    for (let p = 0; p < h * w; p++) mean += dy[k * h * w + p] / (h * w);
    for (let p = 0; p < h * w; p++) out[p] += mean * y[k * h * w + p];
  }
  return out.map((v) => Math.max(v, 0));
}

/**
 * Return a map at another size, interpolated between the nearest four numbers.
 * @param {Float64Array} map @param {number[]} from its height and width @param {number[]} to
 */
export function resize(map, [h, w], [oh, ow]) {
  const out = new Float64Array(oh * ow);
  for (let i = 0; i < oh; i++) {
    const [top, down, bottom] = between(i, h, oh);
    for (let j = 0; j < ow; j++) {
      const [left, right, end] = between(j, w, ow);
      const above = map[top * w + left] * (1 - right) + map[top * w + end] * right;
      const under = map[bottom * w + left] * (1 - right) + map[bottom * w + end] * right;
      out[i * ow + j] = above * (1 - down) + under * down;
    }
  }
  return out;
}

/**
 * Return the pixel before, the part of the way to the next one, and the next one.
 * @param {number} i @param {number} size @param {number} out
 */
function between(i, size, out) {
  const middle = Math.min(Math.max(((i + 0.5) * size) / out - 0.5, 0), size - 1);
  const first = Math.floor(middle);
  return [first, middle - first, Math.min(first + 1, size - 1)];
}

/**
 * Return the layers whose maps Grad-CAM may take, the last one with several places first.
 * @param {Network} network
 */
export function layersOfMaps(network) {
  return network.nodes
    .map((node, i) => ({ node, i }))
    .filter(({ node, i }) => i > 0 && node.shape.length === 3 && node.shape[1] * node.shape[2] > 1)
    .reverse();
}
