/**
 * The page: what Python wrote into it becomes a network, and its parts are put together.
 *
 * `minicnn` in the browser's console is the network with its state, for those who want to ask more.
 */

import { arraysOf, normalise } from "./content.js";
import { crossEntropy } from "./engine/softmax.js";
import { Network } from "./engine/network.js";
import { NoDigit } from "./prepare/digit.js";
import { prepare, pixelsOfFile } from "./prepare/prepare.js";
import { State } from "./state.js";
import { Answer } from "./view/answer.js";
import { shades } from "./view/colours.js";
import { derivationButton } from "./view/derivation.js";
import { byId, complain, make, percent } from "./view/dom.js";
import { Evidence } from "./view/evidence.js";
import { drawPixels, Gallery, imagesOf } from "./view/gallery.js";
import { Layers } from "./view/layers.js";
import { Pad } from "./view/pad.js";
import { setSwitches } from "./view/switches.js";
import { Teach } from "./view/teach.js";
import { UnitPanel } from "./view/unit.js";
import { learnWords } from "./view/words.js";

/** @typedef {import("./content.js").Content} Content */

/** Put the page together. */
async function begin() {
  /** @type {Content} */
  const content = JSON.parse(byId("content").textContent ?? "");
  const network = new Network(content.nodes, arraysOf(content));
  const state = new State(network, content);
  Object.assign(globalThis, { minicnn: { network, state, content, crossEntropy, prepare } });
  learnWords(content.words);
  describe(content, network);
  const pad = new Pad((pixels, side) => show(pixels, side, side, "your drawing"));
  const gallery = new Gallery(state, (pixels) => {
    const picture = make("canvas");
    drawPixels(picture, pixels, content.image);
    pad.cover(picture);
    byId("pad-hint").hidden = false;
    byId("prepared").textContent = "";
  });
  const layers = new Layers(state);
  new Answer(state);
  new Evidence(state);
  new UnitPanel(state);
  new Teach(state, imagesOf(content));
  setSwitches(state, () => layers.paint());
  byId("loss-derivation").replaceWith(
    derivationButton(content, "cross_entropy", "How the loss is derived"),
  );
  state.onChange(() => performance.mark("painted"));

  /**
   * Show pixels (h, w, rgba), prepared as `minicnn predict` prepares a photo.
   * @param {Uint8ClampedArray} pixels @param {number} h @param {number} w @param {string} source
   */
  async function show(pixels, h, w, source) {
    gallery.leave();
    byId("pad-hint").hidden = true;
    try {
      const { image, note } = prepare(pixels, h, w, content);
      byId("prepared").textContent = note;
      await state.show(normalise(image, content), source);
    } catch (error) {
      if (!(error instanceof NoDigit)) throw error;
      byId("prepared").textContent = error.message;
    }
  }

  /** Show a picture from a file. @param {File | undefined} file */
  async function open(file) {
    if (!file) return;
    const found = await pixelsOfFile(file).catch((error) => complain(`${file.name}: ${error.message}`));
    if (found === null) {
      complain(`${file.name} is no image that this browser can read. Take a PNG or a JPEG.`);
    }
    if (!found) return;
    byId("message").hidden = true;
    pad.cover(found.picture);
    await show(found.pixels, found.h, found.w, file.name);
  }

  listen(pad, open);
  await gallery.choose(0);
  performance.mark("first painted");
  document.documentElement.dataset.ready = "true";
}

/**
 * Listen to the buttons around the paper, and to files.
 * @param {Pad} pad @param {(file: File | undefined) => Promise<void>} open
 */
function listen(pad, open) {
  byId("clear").addEventListener("click", () => pad.clear());
  byId("undo").addEventListener("click", () => pad.undo());
  const file = /** @type {HTMLInputElement} */ (byId("file"));
  byId("open").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    open(file.files?.[0]);
    file.value = "";
  });
  byId("save").addEventListener("click", () => {
    const link = make("a", { href: pad.canvas.toDataURL("image/png"), download: "drawing.png" });
    link.click();
  });
  const ink = /** @type {HTMLInputElement} */ (byId("ink"));
  ink.addEventListener("input", () => (pad.ink = ink.value));
  byId("message-close").addEventListener("click", () => (byId("message").hidden = true));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer?.files[0]);
  });
}

/**
 * Write what the run is.
 * @param {Content} content @param {Network} network
 */
function describe(content, network) {
  const learned = network.learned.reduce((sum, name) => sum + network.arrays[name].length, 0);
  const parts = [`${learned.toLocaleString("en")} parameters`];
  if (content.accuracy !== null) {
    parts.push(`${percent(content.accuracy)} of ${content.tested.toLocaleString("en")} test images`);
  }
  parts.push(content.folder);
  byId("subtitle").textContent = parts.join(" · ");
  byId("ink-label").hidden = content.image[0] === 1;
  byId("about").textContent = `Written by minicnn ${content.version}: minicnn play. All of it runs in `
    + "this file; it asks no network for anything.";
  const quiet = [];
  if (network.nodes.some((node) => node.op === "batch_norm" && node.arrays.mean)) {
    quiet.push("Batch norm keeps its running mean and variance in these steps.");
  }
  if (network.nodes.some((node) => node.op === "dropout")) quiet.push("Dropout is off.");
  byId("teach-note").textContent = quiet.join(" ");
}

begin().catch((error) => {
  complain(`The page could not start: ${error.message}. Write it anew by: minicnn play RUN`);
  throw error;
});
shades();
