/** The answer: a bar, a probability and a logit for each class, and the gradient in backward. */

import { byId, make, percent, percentInWords, short, signed } from "./dom.js";

/** @typedef {import("../state.js").State} State */

const MOST_CLASSES = 12; // classes that are shown

/**
 * Return how sure the network is, in words that tell 0.999 from 0.99999.
 * @param {number} p
 */
function odds(p) {
  const ratio = p / Math.max(1 - p, 1e-300);
  if (ratio >= 1e15) return "odds beyond 10¹⁵ to 1";
  if (ratio >= 1) return `odds ${Number(ratio.toPrecision(2)).toLocaleString("en")} to 1`;
  return `odds 1 to ${Number((1 / ratio).toPrecision(2)).toLocaleString("en")}`;
}

export class Answer {
  /** @param {State} state */
  constructor(state) {
    this.state = state;
    const { classes } = state.content;
    this.rows = Array.from({ length: Math.min(classes.length, MOST_CLASSES) }, () => {
      const name = make("th", { scope: "row" });
      const bar = make("span", { class: "bar-fill" });
      const p = make("td", { class: "number" });
      const logit = make("td", { class: "number quiet" });
      const row = make("tr", {}, name, make("td", { class: "bar-cell" }, bar), p, logit);
      byId("answer-rows").append(row);
      return { name, bar, p, logit, row };
    });
    state.onChange(() => this.show());
  }

  show() {
    const { state } = this;
    const { probabilities, answer, content, target } = state;
    const logits = state.ys[state.ys.length - 1];
    const backward = state.mode === "backward" && state.dys.length > 0;
    const gradients = backward ? state.dys[state.dys.length - 1] : null;
    const order = this.order();
    order.forEach((k, i) => {
      const { name, bar, p, logit, row } = this.rows[i];
      name.textContent = content.classes[k];
      bar.style.width = `${100 * probabilities[k]}%`;
      p.textContent = percent(probabilities[k]);
      logit.textContent = gradients ? signed(gradients[k]) : short(logits[k]);
      row.classList.toggle("answer", k === answer);
      row.classList.toggle("target", k === target);
    });
    byId("answer-last").textContent = gradients ? "gradient" : "logit";
    const text = `${content.classes[answer]}, ${percentInWords(probabilities[answer])}`;
    byId("answer-now").textContent = text;
    byId("answer-odds").textContent = odds(probabilities[answer]);
    byId("source").textContent = state.source;
    this.say(`The network says ${text}`);
  }

  /** Return the classes to show: all, or the most probable ones. */
  order() {
    const { probabilities } = this.state;
    const all = Array.from(probabilities, (_, k) => k);
    if (all.length <= MOST_CLASSES) return all;
    return all.sort((a, b) => probabilities[b] - probabilities[a]).slice(0, MOST_CLASSES);
  }

  /** Tell screen readers, at most once in a second. @param {string} text */
  say(text) {
    clearTimeout(this.later);
    this.later = setTimeout(() => (byId("spoken").textContent = text), 700);
  }
}
