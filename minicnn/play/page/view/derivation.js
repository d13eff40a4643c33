/** The derivation of an operation, from the docstring of minicnn, in a dialog. */

import { byId, make } from "./dom.js";

/** @typedef {import("../content.js").Content} Content */

/**
 * Return a button that opens the derivation of an operation.
 * @param {Content} content @param {string} op @param {string} text on the button
 */
export function derivationButton(content, op, text) {
  const button = make("button", { class: "link", type: "button", title: "How it is derived" }, text);
  if (!content.derivations[op]) button.disabled = true;
  button.addEventListener("click", () => openDerivation(content, op));
  return button;
}

/** @param {Content} content @param {string} op */
function openDerivation(content, op) {
  const { module, text } = content.derivations[op];
  byId("derivation-title").textContent = op.replaceAll("_", " ");
  byId("derivation-module").textContent = module;
  byId("derivation-text").textContent = text;
  const dialog = /** @type {HTMLDialogElement} */ (byId("derivation"));
  dialog.showModal();
  dialog.scrollTop = 0;
}
