/** What moved the decision: saliency at the image, and Grad-CAM of a layer that one chooses. */

import { gradCam, layersOfMaps, resize, saliency } from "../explain/attribution.js";
import { byId, make } from "./dom.js";
import { Picture } from "./picture.js";

/** @typedef {import("../state.js").State} State */

export class Evidence {
  /** @param {State} state */
  constructor(state) {
    this.state = state;
    const [, h, w] = state.content.image;
    this.saliency = new Picture([1, h, w], "saliency map", () => {});
    this.cam = new Picture([1, h, w], "Grad-CAM", () => {});
    for (const picture of [this.saliency, this.cam]) {
      picture.canvas.removeAttribute("tabindex");
      picture.canvas.setAttribute("role", "img");
      picture.fit(11000, 118);
    }
    byId("saliency").append(this.saliency.element);
    byId("cam").append(this.cam.element);
    this.select = /** @type {HTMLSelectElement} */ (byId("cam-layer"));
    for (const { node, i } of layersOfMaps(state.network)) {
      this.select.append(make("option", { value: i }, node.name));
    }
    this.select.addEventListener("change", () => this.show());
    state.onChange(() => this.show());
  }

  show() {
    const { state } = this;
    const visible = state.mode === "backward" && state.scores.length > 0;
    byId("evidence").hidden = !visible;
    if (!visible) return;
    const { image, classes } = state.content;
    byId("evidence-class").textContent = classes[state.target];
    this.saliency.paint(saliency(state.scores[0], image), "own scale");
    const layer = Number(this.select.value);
    const { shape } = state.network.nodes[layer];
    const map = gradCam(state.ys[layer], state.scores[layer], shape);
    this.cam.paint(resize(map, shape.slice(1), image.slice(1)), "own scale");
  }
}
