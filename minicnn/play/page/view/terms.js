/**
 * Terms of a unit: three rows of small pictures (values, factors, products), one column for each
 * map; the numbers of the column that one chooses; and a way to go through them one by one.
 */

import { cssShade, rangeOf } from "./colours.js";
import { make, short, signed } from "./dom.js";
import { layoutOf, paintMaps } from "./maps.js";

/** @typedef {import("../explain/units.js").Explanation} Explanation */
/** @typedef {import("../explain/units.js").Group} Group */
/** @typedef {import("../explain/units.js").Unit} Unit */

const MOST_GROUPS = 64; // groups that are drawn
const WRITTEN = 49; // numbers of a group that are written out
const PACE = 450; // milliseconds for a product, when they are played

export class Terms {
  /** @param {HTMLElement} box @param {(unit: Unit) => void} choose called with a term's unit */
  constructor(box, choose) {
    this.box = box;
    this.choose = choose;
    this.key = "";
    this.group = 0;
    this.step = -1;
    /** @type {Explanation | null} */
    this.explanation = null;
    this.overview = make("div", { class: "overview" });
    this.numbers = make("div", { class: "numbers" });
    this.sentence = make("output", { class: "sentence" });
    this.play = make("button", { type: "button" }, "Play");
    this.slider = make("input", {
      type: "range", min: "0", value: "0", step: "1", "aria-label": "product by product",
    });
    this.player = make("div", { class: "player" }, this.play, this.slider, this.sentence);
    box.append(this.overview, this.numbers, this.player);
    this.play.addEventListener("click", () => (this.timer ? this.stop() : this.start()));
    this.slider.addEventListener("input", () => {
      this.stop();
      this.go(Number(this.slider.value));
    });
  }

  /** @param {Explanation} explanation @param {string} key of the unit, to notice another one */
  show(explanation, key) {
    this.explanation = explanation;
    const { groups } = explanation;
    if (key !== this.key) {
      this.stop();
      this.key = key;
      this.group = groups.reduce((best, { sum }, i) =>
        Math.abs(sum) > Math.abs(groups[best].sum) ? i : best, 0);
      this.step = -1;
    }
    this.group = Math.min(this.group, Math.max(groups.length - 1, 0));
    this.draw();
  }

  draw() {
    const { explanation } = this;
    if (!explanation) return;
    const { groups } = explanation;
    this.drawOverview(explanation);
    this.drawNumbers(explanation);
    const total = groups[this.group]?.terms.length ?? 0;
    this.player.hidden = total < 2;
    this.slider.max = String(total);
    this.slider.value = String(this.step + 1);
    this.go(this.step + 1, false);
  }

  /** @param {Explanation} explanation */
  drawOverview({ groups, value, factor }) {
    const large = groups.some(({ terms }) => terms.length > 1);
    this.overview.hidden = !large || (groups.length === 1 && groups[0].terms.length <= WRITTEN);
    this.overview.replaceChildren();
    if (this.overview.hidden) return;
    const shown = groups.slice(0, MOST_GROUPS);
    const limits = {
      value: rangeOf(groups.flatMap(({ terms }) => terms.map((t) => t.value))).limit,
      factor: rangeOf(groups.flatMap(({ terms }) => terms.map((t) => t.factor ?? 0))).limit,
      product: rangeOf(groups.flatMap(({ terms }) => terms.map((t) => t.product))).limit,
    };
    const heads = make("div", { class: "heads" }, make("span", {}, value), make("span", {}, `× ${factor}`),
      make("span", {}, "= products"), make("span", {}, "sum"));
    this.overview.append(heads);
    shown.forEach((group, i) => {
      const pictures = (/** @type {const} */ (["value", "factor", "product"])).map((part) =>
        pictureOf(group, part, limits[part]));
      const button = make("button", {
        type: "button", class: "group", "aria-pressed": i === this.group,
        "aria-label": `${group.label}: the products sum to ${short(group.sum)}`, title: group.label,
      }, ...pictures, make("span", { class: "number" }, signed(group.sum)));
      button.setAttribute("aria-pressed", String(i === this.group));
      button.addEventListener("click", () => {
        this.group = i;
        this.step = -1;
        this.draw();
        const again = /** @type {HTMLElement} */ (this.overview.querySelectorAll("button")[i]);
        again.focus();
      });
      this.overview.append(button);
    });
    const rest = groups.length - shown.length;
    const scales = `Scales: ${value} ±${short(limits.value)}, ${factor} ±${short(limits.factor)}, `
      + `products ±${short(limits.product)}; each is shared by its row.`;
    this.overview.append(make("p", { class: "note" }, rest > 0
      ? `${scales} ${rest} more maps are not drawn; the sum has all.` : scales));
  }

  /** @param {Explanation} explanation */
  drawNumbers({ groups, value, factor }) {
    this.numbers.replaceChildren();
    const group = groups[this.group];
    this.cells = /** @type {HTMLElement[][]} */ ([]);
    if (!group || group.terms.length > WRITTEN) return;
    const one = group.terms.length === 1 && groups.length > 1 ? groups : [group];
    for (const each of one) {
      const names = { value, factor, product: "products" };
      for (const part of /** @type {const} */ (["value", "factor", "product"])) {
        if (each.terms[0].factor === null && part === "factor") continue;
        this.numbers.append(this.table(each, part, names[part]));
      }
    }
  }

  /**
   * @param {Group} group @param {"value" | "factor" | "product"} part @param {string} name
   */
  table(group, part, name) {
    const { limit } = rangeOf(group.terms.map((term) => term[part] ?? 0));
    const grid = make("div", { class: "grid" });
    grid.style.gridTemplateColumns = `repeat(${group.columns}, minmax(2.9em, auto))`;
    const cells = group.terms.map((term) => {
      const text = term.at < 0 && part === "value" ? "·" : short(term[part] ?? 0);
      const cell = part === "value" && term.at >= 0
        ? make("button", { type: "button", title: "Go to this unit" }, text)
        : make("span", {}, text);
      Object.assign(cell.style, cssShade(term[part] ?? 0, limit));
      if (part === "value" && term.at >= 0) {
        cell.addEventListener("click", () => this.choose({ node: term.node, at: term.at }));
      }
      grid.append(cell);
      return cell;
    });
    this.cells?.push(cells);
    const sign = { value: "", factor: "× ", product: "= " }[part];
    const where = part === "value" ? ` (${group.label})` : "";
    return make("figure", {}, make("figcaption", {}, `${sign}${name}${where}`), grid);
  }

  /**
   * Go to a product; 0 is before the first one.
   * @param {number} position @param {boolean} focus whether the step has changed
   */
  go(position, focus = true) {
    const group = this.explanation?.groups[this.group];
    if (focus) this.step = position - 1;
    for (const cells of this.cells ?? []) {
      cells.forEach((cell, i) => cell.classList.toggle("now", i === this.step));
    }
    this.slider.value = String(this.step + 1);
    const now = group?.terms[this.step];
    if (!group || !now) {
      this.sentence.textContent = group ? `${group.terms.length} products sum to ${short(group.sum)}` : "";
      return;
    }
    const sum = group.terms.slice(0, this.step + 1).reduce((total, t) => total + t.product, 0);
    const factor = now.factor === null ? "" : ` × ${short(now.factor)}`;
    this.sentence.textContent = `${this.step + 1} of ${group.terms.length}: ${short(now.value)}${factor} `
      + `= ${short(now.product)}, so far ${short(sum)}`;
  }

  start() {
    const total = this.explanation?.groups[this.group]?.terms.length ?? 0;
    if (this.step >= total - 1) this.step = -1;
    this.play.textContent = "Pause";
    this.timer = setInterval(() => {
      if (this.step >= total - 1) this.stop();
      else this.go(this.step + 2);
    }, Math.min(PACE, 15000 / Math.max(total, 1)));
    this.go(this.step + 2);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.play.textContent = "Play";
  }
}

/**
 * Return a small picture of a group's numbers.
 * @param {Group} group @param {"value" | "factor" | "product"} part @param {number} limit
 */
function pictureOf({ columns, terms }, part, limit) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  const rows = Math.ceil(terms.length / columns);
  const numbers = new Float64Array(rows * columns);
  terms.forEach((term, i) => (numbers[i] = term[part] ?? 0));
  const layout = layoutOf(1, rows, columns, rows * columns > 60 ? 9000 : 2200, 120);
  paintMaps(canvas, numbers, layout, limit);
  return canvas;
}
