/** Small helpers for elements, numbers and words. */

/**
 * Return the element with this id, which the page has.
 * @param {string} id
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return found;
}

/**
 * Return a new element with attributes and children; text is written as text.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Object<string, string | number | boolean>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * Return a canvas's drawing context.
 * @param {HTMLCanvasElement} canvas
 */
export function context(canvas) {
  const found = canvas.getContext("2d", { willReadFrequently: canvas.id === "pad" });
  if (!found) throw new Error("this browser has no 2D canvas");
  return found;
}

/**
 * Return a number with three digits that count, and a true minus sign.
 * @param {number} value
 */
export function short(value) {
  if (!Number.isFinite(value)) return String(value).replace("-", "−");
  const size = Math.abs(value);
  let text = value.toPrecision(3);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) text = value.toExponential(1);
  else if (size >= 100) text = value.toFixed(size < 1000 ? 1 : 0);
  else if (size >= 10) text = value.toFixed(2);
  else text = value.toFixed(size >= 1 ? 2 : 3);
  return (size === 0 ? "0" : text).replace("-", "−");
}

/**
 * Return a number with its sign.
 * @param {number} value
 */
export function signed(value) {
  return value >= 0 ? `+${short(value)}` : short(value);
}

/**
 * Return a probability in per cent; near 0 and 1 with as many digits as it takes.
 * @param {number} p
 */
export function percent(p) {
  if (p > 0 && p < 0.00005) return "< 0.01 %";
  if (p < 1 && p > 0.99995) return "> 99.99 %";
  return `${(100 * p).toFixed(p > 0.9995 || p < 0.0995 ? 2 : 1)} %`;
}

/**
 * Return a probability in words for a sentence.
 * @param {number} p
 */
export function percentInWords(p) {
  return percent(p).replace("> ", "over ").replace("< ", "under ");
}

/**
 * Return "1 map" or "6 maps".
 * @param {number} n @param {string} what
 */
export function many(n, what) {
  return `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
}

/** Tell something that went wrong, at the top of the page and to screen readers. @param {string} text */
export function complain(text) {
  const box = byId("message");
  box.hidden = false;
  byId("message-text").textContent = text;
}

/** The name with "a" or "an", as it is said: an 8, an automobile. @param {string} name */
export function withArticle(name) {
  return `${/^((?!one|uni|eu)[aeiou]|8|1[18]$)/i.test(name) ? "an" : "a"} ${name}`;
}
