/** The switches at the top: forward or backward, weights, Korean words, dark or light, hints. */

import { theme } from "./colours.js";
import { byId } from "./dom.js";
import { showKorean } from "./words.js";

/** @typedef {import("../state.js").State} State */

const SEEN = "minicnn-play-hints"; // kept by the browser, if it keeps anything

const DULL = 0.01; // a loss below this has hardly a gradient
const SURE = "The network is right and sure, so the loss is almost 0 and hardly moves. Choose another "
  + "class where it says: It should be.";
const LEADS = {
  forward: "From left to right: what each layer makes of the image. Every square is a number; touch "
    + "one.",
  backward: "From right to left, the gradient of the loss. Orange: if the number rises, the loss rises; "
    + "blue: the loss falls. Every map stands where it stood.",
};

/**
 * @param {State} state @param {() => void} repaint called when colours change
 */
export function setSwitches(state, repaint) {
  const [forward, backward] = [byId("forward"), byId("backward")];
  /** @param {"forward" | "backward"} mode */
  const turn = (mode) => {
    state.mode = mode;
    forward.setAttribute("aria-pressed", String(mode === "forward"));
    backward.setAttribute("aria-pressed", String(mode === "backward"));
    document.documentElement.dataset.mode = mode;
    return state.ys.length ? state.run() : undefined;
  };
  state.onChange(() => {
    const dull = state.mode === "backward" && state.loss < DULL;
    byId("lead").textContent = dull ? SURE : LEADS[state.mode];
  });
  forward.addEventListener("click", () => turn("forward"));
  backward.addEventListener("click", () => turn("backward"));
  turn("forward");

  onToggle("weights", (on) => {
    state.showsWeights = on;
    state.changed();
  });
  onToggle("korean", showKorean);
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
    repaint();
    state.changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.changed());

  const hints = byId("hints");
  hints.hidden = kept(SEEN) !== null;
  byId("hints-close").addEventListener("click", () => {
    hints.hidden = true;
    keep(SEEN, "seen");
  });
  byId("help").addEventListener("click", () => (hints.hidden = !hints.hidden));
}

/** @param {string} id @param {(on: boolean) => void} changed */
function onToggle(id, changed) {
  const button = byId(id);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    changed(on);
  });
}

/** Return what the browser kept; files on a disk may be refused. @param {string} key */
function kept(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** @param {string} key @param {string} value */
function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // The hints come again at the next visit.
  }
}
