/** What Python wrote into the page: the run, its weights and images. */

/**
 * @typedef {object} Content
 * @property {string} model
 * @property {string} data
 * @property {string | null} form the set of digits whose images pictures are made like
 * @property {number | null} shorterSide to which pictures are resized before they are cut
 * @property {string} folder
 * @property {string} version
 * @property {number | null} accuracy on the whole test split
 * @property {number} tested images of the test split
 * @property {string[]} classes
 * @property {[number, number, number]} image channels, height, width
 * @property {number[]} mean of each channel, in units of pixel / 255
 * @property {number[]} std
 * @property {import("./engine/types.js").Node[]} nodes
 * @property {{name: string, shape: number[]}[]} arrays
 * @property {string} weights float32 in base64, array after array
 * @property {Examples} examples
 * @property {Object<string, {module: string, text: string}>} derivations
 * @property {Object<string, string>} words
 */

/**
 * @typedef {{pixels: string, labels: number[], answers: number[], numbers: number[],
 *   lookedAt: number, wrong: number}} Examples
 */

import { count } from "./engine/types.js";

/**
 * Return the bytes that base64 stands for.
 * @param {string} text
 */
export function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * Return the network's arrays by name.
 * @param {Content} content
 */
export function arraysOf(content) {
  const numbers = new Float32Array(bytesOf(content.weights).buffer);
  /** @type {Object<string, Float64Array>} */
  const arrays = {};
  let at = 0;
  for (const { name, shape } of content.arrays) {
    arrays[name] = Float64Array.from(numbers.subarray(at, at + count(shape)));
    at += count(shape);
  }
  return arrays;
}

/**
 * Return an image as the network takes it: (pixel / 255 - mean) / std, channel by channel.
 * @param {Uint8Array | Uint8ClampedArray} pixels (h, w, c) @param {Content} content
 */
export function normalise(pixels, { image: [c, h, w], mean, std }) {
  const x = new Float64Array(c * h * w);
  for (let i = 0; i < x.length; i++) {
    const channel = Math.floor(i / (h * w));
    x[i] = (pixels[(i % (h * w)) * c + channel] / 255 - mean[channel]) / std[channel];
  }
  return x;
}

/**
 * Return the pixel, from 0 to 255, that a normalised number stands for.
 * @param {number} value @param {number} channel @param {Content} content
 */
export function pixelOf(value, channel, { mean, std }) {
  return Math.max(0, Math.min(255, Math.round((value * std[channel] + mean[channel]) * 255)));
}
