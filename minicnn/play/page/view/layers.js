/** The network on the page: a card for each layer, in the order in which they run. */

import { pixelOf } from "../content.js";
import { explainBackward } from "../explain/backward.js";
import { fieldOf } from "../explain/field.js";
import { explainForward } from "../explain/forward.js";
import { nameOf, placeOf } from "../explain/units.js";
import { derivationButton } from "./derivation.js";
import { byId, make, many } from "./dom.js";
import { boxesOf } from "./maps.js";
import { Picture } from "./picture.js";
import { word, WORD_OF } from "./words.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {import("../engine/types.js").Node} Node */
/** @typedef {{node: Node, maps: Picture, weights: Picture | null, card: HTMLElement}} Card */

/**
 * Return what a layer does, in a few words.
 * @param {Node} node
 */
function kindOf(node) {
  const { windows: g } = node;
  if (!g) return { add: "sum", concat: "joined" }[node.op] ?? node.kind;
  const parts = [`${node.kind} ${g.kh}×${g.kw}`];
  if (g.sh * g.sw > 1) parts.push(`stride ${g.sh === g.sw ? g.sh : `${g.sh}×${g.sw}`}`);
  if (node.groups > 1) parts.push(`${node.groups} groups`);
  return parts.join(", ");
}

/**
 * Return the shape of a picture of weights: one small map for each kernel, or one of a matrix.
 * @param {Node} node @param {State} state
 */
function shapeOfWeights(node, state) {
  const name = node.arrays.weight;
  const found = state.content.arrays.find((array) => array.name === name);
  if (!found || found.shape.length < 2) return null;
  const [a, b, ...kernel] = found.shape;
  return kernel.length ? [a * b, ...kernel] : [1, a, b];
}

export class Layers {
  /** @param {State} state */
  constructor(state) {
    this.state = state;
    this.box = byId("layers");
    this.width = 0;
    /** @type {Card[]} */
    this.cards = state.network.nodes.map((node, i) => this.card(node, i));
    this.arrange();
    this.fit();
    state.onChange(() => this.paint());
    new ResizeObserver(() => this.fit() && this.paint()).observe(this.box);
  }

  /**
   * @param {Node} node @param {number} i
   * @returns {Card}
   */
  card(node, i) {
    const { state } = this;
    const size = node.shape.length === 3 ? `${node.shape[1]}×${node.shape[2]}` : "";
    const what = size ? `${many(node.shape[0], "map")}, ${size}` : many(node.shape[0], "unit");
    const maps = new Picture(node.shape, `${node.name}: ${what}. Arrows choose a unit.`, (at) =>
      this.choose(i, at),
    );
    const title = make("h3", {}, i ? node.name.split(".").slice(-1)[0] : "what the network sees");
    const kind = make("p", { class: "kind" });
    if (i) kind.append(derivationButton(state.content, node.op, kindOf(node)));
    else kind.append(word("feature map", "image"));
    const card = make("section", { class: "layer", id: `layer-${i}`, "aria-label": node.name },
      title, kind, make("p", { class: "shape" }, what), maps.element);
    const term = WORD_OF[node.op];
    if (term) kind.append(make("span", { class: "korean" }, word(term, "")));
    const shape = i ? shapeOfWeights(node, state) : null;
    const weights = shape && new Picture(shape, `weights of ${node.name}`, () => {});
    if (weights) {
      weights.element.classList.add("weights");
      weights.element.prepend(make("p", { class: "shape" }, word("weight", "weights")));
      card.append(weights.element);
    }
    return { node, maps, weights, card };
  }

  /** Put the cards into blocks, one for each part of the network that has a name of its own. */
  arrange() {
    let [prefix, block] = ["", make("div", { class: "block" })];
    this.box.append(block);
    for (const { node, card } of this.cards) {
      const next = node.name.split(".").slice(0, -1).join(".");
      if (next !== prefix) {
        block = make("div", { class: "block" });
        if (next) block.append(make("h2", {}, next));
        this.box.append(block);
        prefix = next;
      }
      block.append(card);
    }
  }

  /** Give every picture its room; return whether anything has changed. */
  fit() {
    const width = this.box.clientWidth;
    if (!width || width === this.width) return false;
    this.width = width;
    const few = this.cards.length < 20;
    const area = Math.min(Math.max(width * 22, 16000), few ? 46000 : 26000);
    for (const { maps, weights } of this.cards) {
      maps.fit(area, Math.min(width, 420));
      weights?.fit(area, Math.min(width, 420));
    }
    return true;
  }

  /** @param {number} node @param {number} at */
  choose(node, at) {
    this.state.unit = { node, at };
    this.state.changed();
  }

  /** Paint all layers: their outputs, or the gradients in their places. */
  paint() {
    const { state } = this;
    const backward = state.mode === "backward" && state.dys.length > 0;
    const values = backward ? state.dys : state.ys;
    if (!values.length) return;
    this.box.classList.toggle("shows-weights", state.showsWeights);
    this.cards.forEach(({ node, maps, weights }, i) => {
      const shared = node.shape[0] === 1 ? "" : node.shape.length === 3 ? "one scale for all maps"
        : "one scale for all units";
      const size = node.shape.length === 3 ? node.shape[1] * node.shape[2] : 1;
      if (i === 0 && !backward) {
        const grey = state.content.image[0] === 1
          ? (/** @type {number} */ v) => pixelOf(v, 0, state.content) : null;
        maps.paint(values[0], grey ? "pixels, 0 to 255" : "red, green, blue", grey);
      } else maps.paint(values[i], size === 0 ? "" : shared);
      if (weights && state.showsWeights) {
        const name = node.arrays.weight;
        const own = backward ? state.darrays[name] : state.network.arrays[name];
        weights.paint(own, backward ? "gradient, one scale" : "one scale");
      }
    });
    this.frame();
  }

  /** Frame the unit, its window in the layers that it reads, and its field in the image. */
  frame() {
    const { state } = this;
    const { unit, network } = state;
    /** @type {Map<number, {map: number, box: [number, number, number, number], strong: boolean}[]>} */
    const frames = new Map();
    if (unit) {
      for (const [node, positions] of termsOf(state)) {
        frames.set(node, boxesOf(positions, network.nodes[node].shape));
      }
      const field = fieldOf(network, unit);
      if (field) {
        const all = Array.from({ length: network.nodes[0].shape[0] }, (_, map) => ({
          map, box: field, strong: true,
        }));
        frames.set(0, all);
      }
      const { map, row, column } = placeOf(network.nodes[unit.node].shape, unit.at);
      frames.set(unit.node, [{ map, box: [row, row, column, column], strong: true }]);
    }
    this.cards.forEach(({ maps, node }, i) => {
      maps.frames(frames.get(i) ?? []);
      maps.at = unit?.node === i ? unit.at : maps.at;
      if (unit?.node === i) maps.canvas.setAttribute("aria-label", nameOf(node, unit.at));
    });
  }
}

/**
 * Return which positions the unit's terms come from, layer by layer.
 * @param {State} state
 */
function termsOf(state) {
  const { unit, network, ys, dys } = state;
  /** @type {Map<number, number[]>} */
  const found = new Map();
  if (!unit) return found;
  const backward = state.mode === "backward" && dys.length > 0;
  const { groups } = backward
    ? explainBackward(network, ys, dys, unit, { probability: 0, isTarget: false })
    : explainForward(network, ys, unit);
  for (const { terms } of groups) {
    for (const { node, at } of terms) {
      const positions = found.get(node) ?? [];
      if (at >= 0) positions.push(at);
      found.set(node, positions);
    }
  }
  return found;
}
