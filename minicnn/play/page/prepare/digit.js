/**
 * A digit on paper made into an image as MNIST's are, as minicnn/data/prepare.py makes it.
 */

import { components, cut, grown } from "./grids.js";
import { densityOf, findInk, isDark, rimOf, shrink, withoutInk } from "./paper.js";

/** @typedef {import("./grids.js").Grid} Grid */
/** @typedef {import("./grids.js").Mask} Mask */
/** @typedef {import("./grids.js").Part} Part */

const SIZE = 28;
const BOX = 20;
const LOW = 0.2; // of full ink: where grey begins
const HIGH = 0.8; // and ends
const NEAR = 0.25; // of the digit's extent: how far away a part of it may lie
const LARGE = 0.5; // of the larger one's height: two parts as high as this are two digits

/** A picture that does not show one digit; the message says what it shows. */
export class NoDigit extends Error {}

/**
 * Return the digit (28, 28) that a grey picture of any size shows, and what was done to it.
 *
 * Throws NoDigit where there is no digit or more than one.
 * @param {Grid} image
 */
export function prepareDigit(image) {
  const { h, w } = image;
  if (hasTheForm(image)) return { image: Uint8Array.from(image.data), note: "left as it is" };
  const { small: whole, factor } = shrink(image);
  const rim = rimOf(whole);
  const small = cut(whole, rim.top, whole.h - rim.bottom, rim.left, whole.w - rim.right);
  const dark = isDark(small);
  const sheet = withoutInk(small, dark);
  const ink = findInk(densityOf(small, sheet, dark));
  if (!ink) throw new NoDigit("no digit is to be seen: nothing stands out from the paper.");
  const { digit, others } = digitOf(ink.mask);
  const near = grown(digit).data;
  const density = {
    ...small,
    data: ink.density.data.map((v, i) =>
      near[i] ? Math.max(0, Math.min(1, (v / ink.full - LOW) / (HIGH - LOW))) : 0,
    ),
  };
  const [top, bottom, left, right] = boxOf(density);
  const cropped = cut(density, top, bottom, left, right);
  const rows = [(top + rim.top) * factor, Math.min((bottom + rim.top) * factor, h) - 1];
  const columns = [(left + rim.left) * factor, Math.min((right + rim.left) * factor, w) - 1];
  const shade = smallest(sheet.data) / Math.max(-smallest(sheet.data.map((v) => -v)), 1);
  const done = [`${dark ? "dark" : "light"} ink at rows ${rows.join(" to ")}, columns `
    + `${columns.join(" to ")}`];
  if (shade < 0.95) done.push(`shade removed (${(100 * shade).toFixed(0)} % light)`);
  if (rim.top || rim.bottom || rim.left || rim.right) done.push("dark rim cut off");
  for (const [n, one] of /** @type {[number, string][]} */ ([
    [ink.lines, "ruled line"], [ink.others + others, "speck"],
  ])) {
    if (n) done.push(`${n} ${one}${n > 1 ? "s" : ""} removed`);
  }
  return { image: centre(fit(cropped)), note: done.join("; ") };
}

/** @param {Float64Array} values */
function smallest(values) {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

/**
 * Return first row, end of the rows, first column, end of the columns of what is not 0.
 * @param {Grid} grid
 */
function boxOf({ h, w, data }) {
  let [top, bottom, left, right] = [h, 0, w, 0];
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      if (!data[i * w + j]) continue;
      [top, bottom] = [Math.min(top, i), Math.max(bottom, i + 1)];
      [left, right] = [Math.min(left, j), Math.max(right, j + 1)];
    }
  }
  return [top, bottom, left, right];
}

/**
 * Return whether a grey image is as MNIST's are: it need not be prepared.
 * @param {Grid} image
 */
function hasTheForm(image) {
  if (image.h !== SIZE || image.w !== SIZE || !image.data.some((v) => v >= 200)) return false;
  const [top, bottom, left, right] = boxOf(image);
  const extent = Math.max(bottom - top, right - left);
  const [y, x] = centreOfMass(image);
  const off = Math.max(Math.abs(y - SIZE / 2), Math.abs(x - SIZE / 2));
  return extent >= BOX - 1 && extent <= BOX && off <= 0.6;
}

/**
 * Return (row, column), weighted by the pixels.
 * @param {Grid} grid
 */
function centreOfMass({ h, w, data }) {
  let [total, y, x] = [0, 0, 0];
  for (let i = 0; i < h * w; i++) {
    total += data[i];
    y += data[i] * Math.floor(i / w);
    x += data[i] * (i % w);
  }
  return [y / total, x / total];
}

/**
 * Return the pixels of the one digit, and how many parts do not belong to it.
 * @param {Mask} mask
 */
function digitOf(mask) {
  const { labels, parts: [first, ...waiting] } = components(mask);
  const own = [first];
  let [others, digits] = [0, 1];
  for (const part of waiting) {
    if (part.height >= LARGE * first.height && apart(first, part)) digits++;
    else if (own.some((one) => gap(part, one) <= NEAR * first.extent)) own.push(part);
    else others++;
  }
  if (digits > 1) {
    throw new NoDigit(`${digits} digits are to be seen, not one. Cut the picture to one digit.`);
  }
  const kept = new Set(own.map(({ label }) => label));
  const data = Uint8Array.from(labels, (label) => +kept.has(label));
  return { digit: { ...mask, data }, others };
}

/** Return how far two boxes are apart. @param {Part} a @param {Part} b */
function gap(a, b) {
  const down = Math.max(a.top, b.top) - Math.min(a.bottom, b.bottom);
  const across = Math.max(a.left, b.left) - Math.min(a.right, b.right);
  return Math.max(down, across, 0);
}

/** Return whether one box lies beside, above or below the other. @param {Part} a @param {Part} b */
function apart(a, b) {
  const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return across < 0.2 * Math.min(a.width, b.width) || down < 0;
}

/**
 * Return the picture with its longer side of `box` pixels, the shorter in proportion.
 * @param {Grid} density
 * @returns {Grid}
 */
export function fit(density) {
  const { h, w, data } = density;
  const [rows, columns] = [h, w].map((n) =>
    Math.max(Math.trunc((n * BOX) / Math.max(h, w) + 0.5), 1),
  );
  const [down, across] = [shares(h, rows), shares(w, columns)];
  const half = new Float64Array(rows * w);
  for (let i = 0; i < rows; i++) {
    for (let p = 0; p < h; p++) {
      const share = down[i * h + p];
      if (share) for (let q = 0; q < w; q++) half[i * w + q] += share * data[p * w + q];
    }
  }
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      for (let q = 0; q < w; q++) out[i * columns + j] += half[i * w + q] * across[j * w + q];
    }
  }
  return { h: rows, w: columns, data: out };
}

/**
 * Return (out, n), rows of sum 1: means over areas to make smaller, bilinear to enlarge.
 * @param {number} n @param {number} out
 */
export function shares(n, out) {
  const weights = new Float64Array(out * n);
  const step = n / out;
  for (let i = 0; i < out; i++) {
    if (step >= 1) {
      for (let k = Math.floor(i * step); k < Math.min(Math.ceil((i + 1) * step), n); k++) {
        const covered = Math.min(k + 1, (i + 1) * step) - Math.max(k, i * step);
        weights[i * n + k] = Math.max(covered, 0) / step;
      }
    } else {
      const middle = Math.min(Math.max((i + 0.5) * step - 0.5, 0), n - 1);
      const k = n > 1 ? Math.min(Math.floor(middle), n - 2) : 0;
      weights[i * n + k] += 1 - (middle - k);
      if (n > 1) weights[i * n + k + 1] += middle - k;
    }
  }
  return weights;
}

/**
 * Return (28, 28) with the centre of mass in the middle; the darkest pixel becomes 255.
 * @param {Grid} density
 */
function centre({ h, w, data }) {
  const most = data.reduce((a, b) => Math.max(a, b), 0);
  const image = data.map((v) => Math.floor(v * (255 / most) + 0.5));
  const [y, x] = centreOfMass({ h, w, data: image });
  const [top, left] = [[y, h], [x, w]].map(([at, n]) =>
    Math.min(Math.max(SIZE / 2 - Math.floor(at + 0.5), 0), SIZE - n),
  );
  const out = new Uint8Array(SIZE * SIZE);
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) out[(top + i) * SIZE + left + j] = image[i * w + j];
  }
  return out;
}
