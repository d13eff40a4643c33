/**
 * A unit number by number: where it comes from, or where its gradient comes from and goes.
 */

import { pixelOf } from "../content.js";
import { explainBackward, givenToWeights } from "../explain/backward.js";
import { fieldOf } from "../explain/field.js";
import { explainForward } from "../explain/forward.js";
import { nameOf, placeOf } from "../explain/units.js";
import { byId, make, short, signed } from "./dom.js";
import { Terms } from "./terms.js";
import { word } from "./words.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {import("../explain/units.js").Explanation} Explanation */

export class UnitPanel {
  /** @param {State} state */
  constructor(state) {
    this.state = state;
    this.panel = byId("unit");
    /** @type {number | undefined} the layer of the unit that was shown last */
    this.layer = undefined;
    this.terms = new Terms(byId("unit-terms"), (unit) => this.choose(unit));
    this.given = new Terms(byId("given-terms"), (unit) => this.choose(unit));
    byId("unit-close").addEventListener("click", () => {
      state.unit = null;
      state.changed();
    });
    state.onChange(() => this.show());
  }

  /** @param {import("../explain/units.js").Unit} unit */
  choose(unit) {
    this.state.unit = unit;
    this.state.changed();
  }

  show() {
    const { state } = this;
    const { unit, network, ys, dys } = state;
    this.panel.hidden = !unit || !ys.length;
    if (unit && unit.node !== this.layer) {
      byId(`layer-${unit.node}`).scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    this.layer = unit?.node;
    if (!unit || !ys.length) return;
    const node = network.nodes[unit.node];
    const backward = state.mode === "backward" && dys.length > 0;
    byId("unit-title").textContent = nameOf(node, unit.at);
    const last = placeOf(node.shape, unit.at).map;
    const explanation = backward
      ? explainBackward(network, ys, dys, unit, {
          probability: state.probabilities[last] ?? 0, isTarget: last === state.target,
        })
      : explainForward(network, ys, unit);
    this.write(explanation, backward);
    this.terms.show(explanation, `${unit.node} ${unit.at} ${state.mode}`);
    const given = backward ? givenToWeights(network, ys, dys, unit) : [];
    byId("given").hidden = !given.length;
    if (given.length) {
      const note = { extras: [], note: "", value: "window", factor: "gradient", total: 0 };
      this.given.show({ ...note, groups: given }, `given ${unit.node} ${unit.at}`);
    }
  }

  /**
   * Write what the unit is, and the sum that makes it.
   * @param {Explanation} explanation @param {boolean} backward
   */
  write({ groups, extras, total, note }, backward) {
    const { state } = this;
    const { unit, network, ys } = state;
    if (!unit) return;
    const sums = groups.length > 24
      ? [`${signed(groups.reduce((sum, group) => sum + group.sum, 0))} from ${groups.length} maps`]
      : groups.map((group) => signed(group.sum));
    const line = byId("unit-sum");
    line.replaceChildren();
    for (const text of sums) line.append(make("span", { class: "summand" }, text), " ");
    for (const { label, value } of extras) {
      line.append(make("span", { class: "summand" }, `${signed(value)} `,
        make("small", {}, label)), " ");
    }
    if (!sums.length && !extras.length) {
      line.append(make("span", { class: "summand" }, "nothing arrives"), " ");
    }
    line.append(make("strong", {}, `= ${short(total)}`));
    byId("unit-kind").replaceChildren(backward ? word("gradient") : word("feature map", "activation"));
    byId("unit-note").textContent = `${note} ${backward ? this.above() : this.next()}`.trim();
    const field = fieldOf(network, unit);
    const [channels, h, w] = state.content.image;
    let seen = "";
    if (field) {
      const [top, bottom, left, right] = field;
      const [high, wide] = [bottom - top + 1, right - left + 1];
      seen = high === h && wide === w ? "It sees the whole image."
        : `It sees ${high}×${wide} pixels of the image: rows ${top} to ${bottom}, columns ${left} to `
          + `${right}.`;
    } else if (unit.node === 0) {
      const channel = Math.floor(unit.at / (h * w)) % channels;
      seen = `The pixel is ${pixelOf(ys[0][unit.at], channel, state.content)} of 255.`;
    }
    byId("unit-field").textContent = seen;
  }

  /** Return a sentence on what becomes of the number next. */
  next() {
    const { unit, network, ys } = this.state;
    if (!unit) return "";
    const shape = String(network.nodes[unit.node].shape);
    const sentences = [];
    for (const [i, node] of network.nodes.entries()) {
      if (!node.inputs.includes(unit.node)) continue;
      const same = String(node.shape) === shape && !["conv2d", "linear", "concat"].includes(node.op)
        && !node.windows;
      sentences.push(same ? `Then ${node.name} makes ${short(ys[i][unit.at])} of it.`
        : `Then it goes into ${node.name}.`);
    }
    return sentences.join(" ");
  }

  /** Return a sentence on what the gradient means here. */
  above() {
    const { unit, dys, loss } = this.state;
    if (!unit) return "";
    const g = dys[unit.node][unit.at];
    if (g === 0) return `The loss (${short(loss)}) does not move with this unit at all.`;
    return `If this unit rose by 0.01, the loss (${short(loss)}) would `
      + `${g > 0 ? "rise" : "fall"} by about ${short(Math.abs(0.01 * g))}.`;
  }
}
