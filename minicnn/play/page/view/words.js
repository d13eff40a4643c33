/**
 * Words of the glossary: each may be shown with its Korean term.
 *
 * In the page's text they are marked by `data-word`; who writes new text asks `word`.
 */

import { make } from "./dom.js";

/** @type {{terms: Object<string, string>, korean: boolean}} */
const glossary = { terms: {}, korean: false };

/**
 * Return an element with a word of the glossary, as it is shown now and after the next switch.
 * @param {string} term as in the glossary @param {string} shown the form that the sentence needs
 */
export function word(term, shown = term) {
  const element = make("span", { "data-word": term }, shown);
  element.dataset.shown = shown;
  write(element);
  return element;
}

/** @param {HTMLElement} element */
function write(element) {
  const { word: term = "" } = element.dataset;
  element.dataset.shown ??= element.textContent ?? "";
  const korean = glossary.terms[term];
  const { shown } = element.dataset;
  element.textContent = glossary.korean && korean ? `${shown} (${korean})` : shown ?? "";
}

/**
 * Show the words with or without their Korean terms, everywhere.
 * @param {boolean} korean
 */
export function showKorean(korean) {
  glossary.korean = korean;
  for (const element of document.querySelectorAll("[data-word]")) {
    write(/** @type {HTMLElement} */ (element));
  }
}

/** Take the terms that the page holds. @param {Object<string, string>} terms */
export function learnWords(terms) {
  glossary.terms = terms;
}

/** The word of the glossary for each kind of layer. @type {Object<string, string>} */
export const WORD_OF = {
  conv2d: "convolution",
  linear: "fully connected layer",
  max_pool2d: "max pooling",
  avg_pool2d: "average pooling",
  adaptive_avg_pool2d: "adaptive average pooling",
  relu: "ReLU",
  leaky_relu: "activation function",
  gelu: "activation function",
  sigmoid: "activation function",
  tanh: "activation function",
  batch_norm: "batch normalisation",
  local_response_norm: "local response normalisation",
  softmax: "softmax",
  log_softmax: "softmax",
  dropout: "dropout",
  add: "residual block",
  concat: "Inception module",
  zero_pad_shortcut: "shortcut",
};
