/**
 * The two colour maps, as those of minicnn/viz: Okabe and Ito's blue and vermilion, which eyes with
 * any kind of colour blindness tell apart. 0 has the colour of the paper.
 *
 *     diverging    blue below 0, vermilion above
 *     sequential   the half above 0, for layers that are never negative
 *     grey         pixels of the image
 */

/** @typedef {[number, number, number]} Colour */

/** @type {Object<string, {paper: Colour, low: Colour, high: Colour, ink: Colour}>} */
const THEMES = {
  light: { paper: [255, 255, 255], low: [0, 114, 178], high: [213, 94, 0], ink: [34, 34, 34] },
  dark: { paper: [24, 26, 30], low: [86, 180, 233], high: [255, 137, 54], ink: [236, 237, 239] },
};

const STEPS = 255; // shades on each side of 0

/** Shades from -STEPS to STEPS as numbers of an ImageData, by theme. @type {Map<string, Tables>} */
const tables = new Map();

/** @typedef {{signs: Uint32Array, grey: Uint32Array, paper: number, theme: string}} Tables */

/** Return the theme that the page shows. */
export function theme() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "dark" || chosen === "light") return chosen;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** @param {Colour} colour */
function packed([r, g, b]) {
  return ((255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r)) >>> 0;
}

/** @param {Colour} a @param {Colour} b @param {number} part @returns {Colour} */
function mix(a, b, part) {
  const [r, g, blue] = a.map((v, i) => v + (b[i] - v) * part);
  return [r, g, blue];
}

/** Return the shades of the theme that the page shows. @returns {Tables} */
export function shades() {
  const name = theme();
  let found = tables.get(name);
  if (!found) {
    const { paper, low, high } = THEMES[name];
    const signs = new Uint32Array(2 * STEPS + 1);
    const grey = new Uint32Array(STEPS + 1);
    for (let i = 0; i <= STEPS; i++) {
      signs[STEPS + i] = packed(mix(paper, high, i / STEPS));
      signs[STEPS - i] = packed(mix(paper, low, i / STEPS));
      grey[i] = packed([i, i, i]);
    }
    found = { signs, grey, paper: packed(paper), theme: name };
    tables.set(name, found);
  }
  return found;
}

/**
 * Return a value's shade on a scale that ends at `limit`; what is not a number is grey.
 * @param {Uint32Array} signs @param {number} value @param {number} limit
 */
export function shade(signs, value, limit) {
  const part = limit > 0 ? value / limit : 0;
  if (part !== part) return 0xff888888;
  return signs[STEPS + Math.round(Math.max(-1, Math.min(1, part)) * STEPS)];
}

/**
 * Return a value's shade for a style sheet, and the colour of writing on it.
 * @param {number} value @param {number} limit
 */
export function cssShade(value, limit) {
  const number = shade(shades().signs, value, limit);
  const rgb = [number & 255, (number >> 8) & 255, (number >> 16) & 255];
  const [r, g, b] = rgb.map((v) => {
    const c = v / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b; // as the WCAG define it
  const ink = (light + 0.05) / 0.05 > 1.05 / (light + 0.05) ? "#000000" : "#ffffff";
  return { background: `rgb(${rgb.join(" ")})`, color: ink };
}

/** The ends of the scales for a style sheet. */
export function ends() {
  const { paper, low, high } = THEMES[theme()];
  return [low, paper, high].map((colour) => `rgb(${colour.join(" ")})`);
}

/**
 * Return the largest size of an array's numbers, and whether any is negative.
 * @param {Float64Array | number[]} values
 */
export function rangeOf(values) {
  let [low, high] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  return { limit: Math.max(-low, high), negative: low < 0 };
}
