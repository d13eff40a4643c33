/**
 * A picture of maps that can be touched: maps, frames over them, and the scale of their colours.
 *
 * By keyboard the arrows go from unit to unit, Page Up and Page Down from map to map.
 */

import { ends, rangeOf } from "./colours.js";
import { make, short } from "./dom.js";
import { layoutOf, paintFrames, paintMaps, positionAt } from "./maps.js";

/** @typedef {import("./maps.js").Layout} Layout */

export class Picture {
  /**
   * @param {number[]} shape of the maps (c, h, w), or (length) of a vector
   * @param {string} label for screen readers
   * @param {(at: number) => void} touch called with a position that was chosen
   */
  constructor(shape, label, touch) {
    this.maps = shape[0];
    this.h = shape.length === 3 ? shape[1] : 1;
    this.w = shape.length === 3 ? shape[2] : 1;
    this.touch = touch;
    this.at = -1;
    /** @type {Layout | null} */
    this.layout = null;
    this.canvas = make("canvas", {
      tabindex: "0", role: "application", "aria-roledescription": "feature maps",
      "aria-label": label,
    });
    this.overlay = make("canvas", { class: "overlay", hidden: true, "aria-hidden": "true" });
    this.bar = make("span", { class: "bar", "aria-hidden": "true" });
    this.low = make("span", { class: "number" });
    this.high = make("span", { class: "number" });
    this.shared = make("span", { class: "shared" });
    const scale = make("div", { class: "scale" }, this.low, this.bar, this.high, this.shared);
    const frame = make("div", { class: "frame" }, this.canvas, this.overlay);
    this.element = make("div", { class: "picture" }, frame, scale);
    this.canvas.addEventListener("click", (event) => this.point(event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.at < 0 && this.choose(0));
  }

  /**
   * Take so much room: about `area` pixels, at most `most` wide.
   * @param {number} area @param {number} most
   */
  fit(area, most) {
    this.layout = layoutOf(this.maps, this.h, this.w, area, most);
  }

  /**
   * Paint numbers. Layers that are never negative have the half of the scale above 0.
   * @param {Float64Array} values @param {string} shared whose scale it is, in words
   * @param {((value: number) => number) | null} grey
   */
  paint(values, shared, grey = null) {
    if (!this.layout) return;
    const { limit, negative } = rangeOf(values);
    paintMaps(this.canvas, values, this.layout, limit, grey);
    const [low, paper, high] = ends();
    const colours = negative ? [low, paper, high] : [paper, high];
    this.bar.style.background = `linear-gradient(to right, ${colours.join(",")})`;
    this.bar.style.visibility = grey ? "hidden" : "visible";
    this.low.textContent = grey ? "" : negative ? short(-limit) : "0";
    this.high.textContent = grey ? "" : short(limit);
    this.shared.textContent = limit === 0 && !grey ? "all are 0" : shared;
  }

  /** @param {{map: number, box: [number, number, number, number], strong: boolean}[]} frames */
  frames(frames) {
    if (this.layout) paintFrames(this.overlay, this.layout, frames);
  }

  /** @param {MouseEvent} event */
  point(event) {
    if (!this.layout) return;
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.layout.width;
    const y = ((event.clientY - box.top) / box.height) * this.layout.height;
    const at = positionAt(this.layout, x, y);
    if (at !== null) this.choose(at);
  }

  /** @param {number} at */
  choose(at) {
    this.at = at;
    this.touch(at);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.layout || event.ctrlKey || event.metaKey || event.altKey) return;
    const [size, count] = [this.h * this.w, this.maps * this.h * this.w];
    const line = size === 1 ? this.layout.columns : this.w;
    /** @type {Object<string, number>} */
    const moves = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -line, ArrowDown: line,
      PageUp: -size, PageDown: size, Home: -this.at, End: count - 1 - this.at,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = this.at + moves[event.key];
    if (next >= 0 && next < count) this.choose(next);
  }
}
