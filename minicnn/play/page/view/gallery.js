/** Test images to choose from, the network's mistakes among them. */

import { bytesOf, normalise } from "../content.js";
import { byId, context, make } from "./dom.js";

/** @typedef {import("../state.js").State} State */

/**
 * Return the examples' images, each (h, w, c).
 * @param {import("../content.js").Content} content
 */
export function imagesOf(content) {
  const [c, h, w] = content.image;
  const bytes = bytesOf(content.examples.pixels);
  return content.examples.labels.map((_, i) => bytes.subarray(i * c * h * w, (i + 1) * c * h * w));
}

/**
 * Draw an image (h, w, c) on a canvas, pixel by pixel.
 * @param {HTMLCanvasElement} canvas @param {Uint8Array} pixels @param {number[]} image (c, h, w)
 */
export function drawPixels(canvas, pixels, [c, h, w]) {
  [canvas.width, canvas.height] = [w, h];
  const drawing = context(canvas);
  const data = drawing.createImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    for (let k = 0; k < 3; k++) data.data[4 * i + k] = pixels[i * c + (c === 1 ? 0 : k)];
    data.data[4 * i + 3] = 255;
  }
  drawing.putImageData(data, 0, 0);
}

export class Gallery {
  /**
   * @param {State} state @param {(pixels: Uint8Array) => void} shown called with what is chosen
   */
  constructor(state, shown) {
    this.state = state;
    this.shown = shown;
    const { content } = state;
    const { labels, answers, numbers } = content.examples;
    this.images = imagesOf(content);
    this.buttons = this.images.map((pixels, i) => {
      const canvas = make("canvas", { "aria-hidden": "true" });
      drawPixels(canvas, pixels, content.image);
      const wrong = labels[i] !== answers[i];
      const said = wrong ? `, taken for ${content.classes[answers[i]]}` : "";
      const name = `test image ${numbers[i]}, a ${content.classes[labels[i]]}${said}`;
      const button = make("button", { type: "button", title: name, "aria-label": name }, canvas);
      button.classList.toggle("mistake", wrong);
      button.tabIndex = i ? -1 : 0;
      button.addEventListener("click", () => this.choose(i));
      return button;
    });
    const box = byId("gallery");
    box.append(...this.buttons);
    box.addEventListener("keydown", (event) => this.key(event));
    const wrong = answers.filter((answer, i) => answer !== labels[i]).length;
    const only = /** @type {HTMLInputElement} */ (byId("only-mistakes"));
    only.disabled = !wrong;
    only.addEventListener("change", () => box.classList.toggle("only-mistakes", only.checked));
    const { examples } = content;
    byId("gallery-note").textContent = `Of the first ${examples.lookedAt.toLocaleString("en")} test `
      + `images, ${examples.wrong} are answered wrongly; ${wrong} of them are here, with a corner.`;
  }

  /** Show an example. @param {number} i */
  choose(i) {
    const { state } = this;
    const { labels, numbers } = state.content.examples;
    this.buttons.forEach((button, k) => {
      button.setAttribute("aria-pressed", String(k === i));
      button.tabIndex = k === i ? 0 : -1;
    });
    state.target = labels[i];
    this.shown(this.images[i]);
    const name = state.content.classes[labels[i]];
    return state.show(normalise(this.images[i], state.content), `test image ${numbers[i]}: ${name}`);
  }

  /** Nothing of the gallery is shown any more. */
  leave() {
    for (const button of this.buttons) button.setAttribute("aria-pressed", "false");
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const shownOnes = this.buttons.filter((button) => button.offsetParent);
    const now = shownOnes.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const inRow = shownOnes.filter((b) => b.offsetTop === shownOnes[0].offsetTop).length;
    /** @type {Object<string, number>} */
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -inRow, ArrowDown: inRow };
    const next = shownOnes[now + (moves[event.key] ?? 0)];
    if (now < 0 || !(event.key in moves) || !next) return;
    event.preventDefault();
    next.focus();
  }
}
