/**
 * Teaching: one step of SGD on the image that is shown or on the sixty, undo, and steps on the
 * pixels of the image.
 *
 * Batch norm keeps its running statistics and dropout is off during these steps.
 */

import { normalise } from "../content.js";
import { crossEntropy } from "../engine/softmax.js";
import { resting } from "../state.js";
import { byId, make, short, withArticle } from "./dom.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {import("../engine/types.js").Arrays} Arrays */

const KEPT = 50; // steps that can be undone
const PIXELS = 16; // of 255: how far the step on the pixels moves the one with the steepest slope

export class Teach {
  /** @param {State} state @param {Uint8Array[]} images the sixty */
  constructor(state, images) {
    this.state = state;
    this.images = images.map((pixels) => normalise(pixels, state.content));
    /** @type {{arrays: Arrays, x: Float64Array, source: string, text: string}[]} */
    this.before = [];
    this.first = { ...state.network.arrays };
    this.rate = /** @type {HTMLInputElement} */ (byId("rate"));
    this.target = /** @type {HTMLSelectElement} */ (byId("target"));
    state.content.classes.forEach((name, k) => {
      this.target.append(make("option", { value: k }, name));
    });
    this.target.addEventListener("change", () => {
      state.target = Number(this.target.value);
      state.run();
    });
    this.rate.addEventListener("input", () => this.showRate());
    byId("step-one").addEventListener("click", () => this.alone(() => this.stepOne()));
    byId("step-all").addEventListener("click", () => this.alone(() => this.stepAll()));
    byId("more-of").addEventListener("click", () => this.alone(() => this.moreOf()));
    byId("undo-step").addEventListener("click", () => this.alone(() => this.undo()));
    byId("untaught").addEventListener("click", () => this.alone(() => this.forget()));
    state.onChange(() => this.show());
    this.showRate();
  }

  /** The learning rate: the slider counts tenths of a power of ten. */
  get lr() {
    return Number((10 ** (Number(this.rate.value) / 10)).toPrecision(2));
  }

  showRate() {
    byId("rate-value").textContent = String(this.lr);
    this.rate.setAttribute("aria-valuetext", String(this.lr));
  }

  show() {
    const { state } = this;
    this.target.value = String(state.target);
    byId("loss").textContent = short(state.loss);
    const wanted = withArticle(state.content.classes[state.target]);
    byId("more-of").textContent = `Make the image more of ${wanted}`;
    const taught = this.before.length;
    byId("undo-step").toggleAttribute("disabled", !taught);
    byId("untaught").toggleAttribute("disabled", !taught);
  }

  /** Do something that no other step may disturb. @param {() => Promise<void>} action */
  async alone(action) {
    if (this.busy) return;
    this.busy = true;
    byId("teach").setAttribute("aria-busy", "true");
    try {
      await action();
    } finally {
      this.busy = false;
      byId("teach").removeAttribute("aria-busy");
      this.show();
    }
  }

  /** Keep what is now, so that undo finds it. */
  keep() {
    const { state } = this;
    const text = byId("taught").textContent ?? "";
    this.before.push({ arrays: { ...state.network.arrays }, x: state.x, source: state.source, text });
    if (this.before.length > KEPT) this.before.shift();
  }

  /** @param {string} text */
  tell(text) {
    byId("taught").textContent = text;
  }

  /** One step on the image that is shown. */
  async stepOne() {
    const { state } = this;
    const { network } = state;
    this.keep();
    const { loss, darrays } = await gradientsOf(state, state.x, [state.target]);
    network.step(darrays, this.lr);
    await state.run();
    this.tell(`Loss on this image: ${short(loss)} before, ${short(state.loss)} after. The weight that `
      + `moved most moved by ${short(this.lr * largest(darrays))}.`);
  }

  /** One step on the sixty test images: the mean of their gradients. */
  async stepAll() {
    const { state } = this;
    this.keep();
    const before = await this.pass(true);
    state.network.step(before.darrays, this.lr);
    const after = await this.pass(false);
    await state.run();
    this.tell(`Mean loss on the ${this.images.length}: ${short(before.loss)} before, `
      + `${short(after.loss)} after; right answers ${before.right} before, ${after.right} after. The `
      + `weight that moved most moved by ${short(this.lr * largest(before.darrays))}.`);
  }

  /**
   * Return loss, right answers and, if asked for, gradients over all examples. Images run one by
   * one, unless a batch norm without running statistics makes them meet.
   * @param {boolean} backward
   */
  async pass(backward) {
    const { state, images } = this;
    const { labels } = state.content.examples;
    const bar = /** @type {HTMLProgressElement} */ (byId("progress"));
    bar.hidden = false;
    const together = state.network.meets ? images.length : 1;
    let [loss, right] = [0, 0];
    /** @type {Arrays} */
    const darrays = {};
    for (let i = 0; i < images.length; i += together) {
      const some = images.slice(i, i + together);
      const x = new Float64Array(some.length * some[0].length);
      some.forEach((image, k) => x.set(image, k * image.length));
      const own = await gradientsOf(state, x, labels.slice(i, i + together), backward);
      const part = some.length / images.length;
      loss += own.loss * part;
      right += own.right;
      for (const [name, d] of Object.entries(own.darrays)) {
        const sum = (darrays[name] ??= new Float64Array(d.length));
        for (let k = 0; k < d.length; k++) sum[k] += d[k] * part;
      }
      bar.value = (i + some.length) / images.length;
    }
    bar.hidden = true;
    return { loss, right, darrays };
  }

  /** A step on the pixels: against the gradient of the loss at the image. */
  async moreOf() {
    const { state } = this;
    const { image: [c, h, w], mean, std, classes } = state.content;
    this.keep();
    const { loss, dx } = await gradientsOf(state, state.x, [state.target]);
    const steepest = Math.max(largest({ dx }), 1e-300);
    const x = state.x.map((v, i) => {
      const channel = Math.floor(i / (h * w)) % c;
      const [low, high] = [-mean[channel] / std[channel], (1 - mean[channel]) / std[channel]];
      const step = (PIXELS / 255 / std[channel]) * (dx[i] / steepest);
      return Math.max(low, Math.min(high, v - step));
    });
    const name = classes[state.target];
    await state.show(x, `image moved towards ${name}`);
    this.tell(`The pixels moved, by at most ${PIXELS} of 255; the weights did not. Loss: `
      + `${short(loss)} before, ${short(state.loss)} after.`);
  }

  async undo() {
    const last = this.before.pop();
    if (!last) return;
    this.state.network.arrays = last.arrays;
    this.tell(last.text || "The last step is undone.");
    await this.state.show(last.x, last.source);
  }

  /** Take all steps on the weights back. */
  async forget() {
    this.before = [];
    this.state.network.arrays = { ...this.first };
    this.tell("The weights are again those of the run.");
    await this.state.run();
  }
}

/**
 * Return the loss of images, how many answers are right, and all gradients, if they are asked for.
 * @param {State} state @param {Float64Array} x @param {number[]} targets @param {boolean} backward
 */
async function gradientsOf({ network }, x, targets, backward = true) {
  const n = targets.length;
  const ys = await resting(network.forwardInSteps(x, n));
  const { loss, dlogits, probabilities } = crossEntropy(ys[ys.length - 1], targets);
  const classes = probabilities.length / n;
  const right = targets.filter((target, i) => {
    const own = probabilities.subarray(i * classes, (i + 1) * classes);
    return own.indexOf(Math.max(...own)) === target;
  }).length;
  if (!backward) return { loss, right, darrays: {}, dx: x };
  const { dys, darrays } = await resting(network.backwardInSteps(ys, dlogits, n));
  return { loss, right, darrays, dx: dys[0] };
}

/** Return the largest size of any number. @param {Arrays} arrays */
function largest(arrays) {
  let most = 0;
  for (const array of Object.values(arrays)) {
    for (let i = 0; i < array.length; i++) most = Math.max(most, Math.abs(array[i]));
  }
  return most;
}
