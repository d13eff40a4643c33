/**
 * What the page shows now, and the loop that keeps it up to date: an image goes in, the network
 * runs forward, and backward where somebody looks at that.
 *
 * Long runs rest every few milliseconds, so that the page stays alive. An image that comes while
 * the network runs waits for its turn; only the newest one does.
 */

import { crossEntropy } from "./engine/softmax.js";
import { oneHot } from "./explain/attribution.js";

/** @typedef {import("./engine/network.js").Network} Network */
/** @typedef {import("./engine/types.js").Arrays} Arrays */
/** @typedef {import("./explain/units.js").Unit} Unit */

const PATIENCE = 12; // milliseconds without a rest

export class State {
  /**
   * @param {Network} network @param {import("./content.js").Content} content
   */
  constructor(network, content) {
    this.network = network;
    this.content = content;
    /** @type {Float64Array} the image, normalised */
    this.x = new Float64Array(0);
    /** Class that should have been the answer. */
    this.target = 0;
    /** @type {"forward" | "backward"} */
    this.mode = "forward";
    /** @type {Unit | null} */
    this.unit = null;
    this.showsWeights = false;
    /** Name of what is shown, such as "test image 17". */
    this.source = "";
    /** @type {Float64Array[]} outputs of all nodes */
    this.ys = [];
    /** @type {Float64Array[]} gradients of the loss at all nodes */
    this.dys = [];
    /** @type {Arrays} gradients of the loss at all weights */
    this.darrays = {};
    /** @type {Float64Array[]} gradients of the target's score at all nodes */
    this.scores = [];
    this.loss = 0;
    /** @type {Float64Array} */
    this.probabilities = new Float64Array(0);
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    this.running = false;
    this.waiting = false;
  }

  /** Call `listener` when there is something new to show. @param {() => void} listener */
  onChange(listener) {
    this.listeners.add(listener);
  }

  /** Tell all listeners. */
  changed() {
    for (const listener of this.listeners) listener();
  }

  /** The network's answer: the most probable class. */
  get answer() {
    return this.probabilities.indexOf(Math.max(...this.probabilities));
  }

  /**
   * Show another image.
   * @param {Float64Array} x normalised @param {string} source
   */
  async show(x, source) {
    this.x = x;
    this.source = source;
    await this.run();
  }

  /** Run the network on the image that is shown, then tell the listeners. */
  async run() {
    if (this.running) {
      this.waiting = true;
      return;
    }
    this.running = true;
    try {
      do {
        this.waiting = false;
        await this.once();
        this.changed();
      } while (this.waiting);
    } finally {
      this.running = false;
    }
  }

  /** Run forward, and backward where it is shown. */
  async once() {
    const { network, target } = this;
    const ys = await resting(network.forwardInSteps(this.x));
    const last = ys[ys.length - 1];
    const { loss, dlogits, probabilities } = crossEntropy(last, [target]);
    const backward = this.mode === "backward";
    if (backward) {
      const { dys, darrays } = await resting(network.backwardInSteps(ys, dlogits));
      const { dys: scores } = await resting(network.backwardInSteps(ys, oneHot(last.length, target)));
      Object.assign(this, { dys, darrays, scores });
    }
    Object.assign(this, { ys, loss, probabilities });
    if (!backward) Object.assign(this, { dys: [], darrays: {}, scores: [] });
  }
}

/**
 * Run a generator to its end with rests, and return its result.
 * @template T
 * @param {Generator<number, T, void>} steps
 * @returns {Promise<T>}
 */
export async function resting(steps) {
  let start = performance.now();
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    if (performance.now() - start > PATIENCE) {
      await rest();
      start = performance.now();
    }
  }
}

const channel = new MessageChannel();
/** @type {(() => void)[]} */
const resters = [];
channel.port1.onmessage = () => resters.shift()?.();

/** Let the browser do what waits. Timers would take 4 ms or more. @returns {Promise<void>} */
export function rest() {
  return new Promise((resolve) => {
    resters.push(resolve);
    channel.port2.postMessage(null);
  });
}
