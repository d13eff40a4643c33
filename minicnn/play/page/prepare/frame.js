/**
 * Where what was found comes to lie in 28x28 pixels, for each of the sets that are like MNIST; and
 * what tells that a picture has this form already. See minicnn/data/prepare.py.
 */

import { extreme } from "./grids.js";
import { resizePicture } from "./pillow.js";

/** @typedef {import("./grids.js").Grid} Grid */

const SIZE = 28;
const BOX = 20;
const TIE = 1e-9; // halves round up, whatever the last bits of a sum are
const COARSE = 8; // pixels of scikit-learn's digits
const PEN = 4; // of the 32 pixels that they were fitted into: the least thickness of a stroke

/**
 * Return first row, end of the rows, first column, end of the columns of what is not 0.
 * @param {Grid} grid
 */
export function boxOf({ h, w, data }) {
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
 * Return whether a grey image is as KMNIST's and Fashion-MNIST's are: light on dark corners.
 * @param {Grid} image
 */
function fillsTheFrame({ h, w, data }) {
  if (h !== SIZE || w !== SIZE) return false;
  const corners = [data[0], data[w - 1], data[(h - 1) * w], data[h * w - 1]];
  return corners.filter((v) => v < 64).length >= 3 && data.some((v) => v >= 64);
}

/**
 * Return whether a grey image is as those of scikit-learn's digits, enlarged.
 * @param {Grid} image
 */
function isCoarse(image) {
  const { w, data } = image;
  if (!fillsTheFrame(image)) return false;
  const [first, last] = [data.subarray(0, w), data.subarray(data.length - w)];
  const empty = data.filter((v) => v === 0).length / data.length;
  return first.some((v) => v >= 40) && last.some((v) => v >= 40) && empty >= 0.2;
}

/** What tells that a picture has the form of a set. @type {Object<string, (image: Grid) => boolean>} */
export const FORMS = {
  mnist: hasTheForm,
  digits: isCoarse,
  kmnist: fillsTheFrame,
  "fashion-mnist": fillsTheFrame,
};

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
 * Return the picture with its longer side of `box` pixels, the shorter in proportion.
 * @param {Grid} density @param {number} box
 * @returns {Grid}
 */
export function fit(density, box = BOX) {
  const { h, w, data } = density;
  const [rows, columns] = [h, w].map((n) =>
    Math.max(Math.trunc((n * box) / Math.max(h, w) + 0.5), 1),
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
 * Return whole numbers; the densest pixel becomes 255.
 * @param {Grid} density
 * @returns {Grid}
 */
function whole({ h, w, data }) {
  const most = data.reduce((a, b) => Math.max(a, b), 0);
  return { h, w, data: data.map((v) => Math.floor(v * (255 / most) + 0.5 + TIE)) };
}

/**
 * Return (side, side) with the image at a place, on 0.
 * @param {Grid} image @param {number} side @param {number} top @param {number} left
 */
function laidInto({ h, w, data }, side, top, left) {
  const out = new Uint8Array(side * side);
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) out[(top + i) * side + left + j] = data[i * w + j];
  }
  return out;
}

/** Return (side, side) with the image in the middle. @param {Grid} image @param {number} side */
function framed(image, side) {
  return laidInto(image, side, Math.floor((side - image.h) / 2), Math.floor((side - image.w) / 2));
}

/**
 * Return (28, 28) with the centre of mass in the middle.
 * @param {Grid} density
 */
function centre(density) {
  const image = whole(density);
  const [y, x] = centreOfMass(image);
  const [top, left] = [[y, image.h], [x, image.w]].map(([at, n]) =>
    Math.min(Math.max(SIZE / 2 - Math.floor(at + 0.5), 0), SIZE - n),
  );
  return laidInto(image, SIZE, top, left);
}

/**
 * Return strokes of at least PEN / 32 of the longer side, by a maximum over a window.
 * @param {Grid} density
 */
function widened(density) {
  const { h, w, data } = density;
  const most = data.reduce((a, b) => Math.max(a, b), 0);
  const ink = { h, w, data: data.map((v) => +(v >= most / 2)) };
  const padded = inMargin(ink, 1);
  let [area, edges] = [0, 0];
  for (let i = 1; i < padded.h; i++) {
    for (let j = 1; j < padded.w; j++) {
      const at = i * padded.w + j;
      area += padded.data[at];
      edges += +(padded.data[at] !== padded.data[at - 1]);
      edges += +(padded.data[at] !== padded.data[at - padded.w]);
    }
  }
  const missing = (PEN / (4 * COARSE)) * Math.max(h, w) - (2 * area) / edges;
  const half = Math.trunc(missing / 2 + 0.5);
  return half <= 0 ? density : extreme(inMargin(density, half), half, 1);
}

/**
 * Return a grid with `margin` pixels of 0 on every side.
 * @param {Grid} grid @param {number} margin
 * @returns {Grid}
 */
function inMargin({ h, w, data }, margin) {
  const wide = w + 2 * margin;
  const out = new Float64Array((h + 2 * margin) * wide);
  for (let i = 0; i < h; i++) {
    out.set(data.subarray(i * w, (i + 1) * w), (i + margin) * wide + margin);
  }
  return { h: h + 2 * margin, w: wide, data: out };
}

/**
 * Return (28, 28) of up to 32x32: black and white, counted in blocks of 4x4, enlarged.
 * @param {Grid} density
 */
function coarse({ h, w, data }) {
  const most = data.reduce((a, b) => Math.max(a, b), 0);
  const ink = framed({ h, w, data: data.map((v) => +(v >= most / 2 - TIE)) }, 4 * COARSE);
  const counts = new Float64Array(COARSE * COARSE);
  ink.forEach((v, at) => {
    const [i, j] = [Math.floor(at / (4 * COARSE)), at % (4 * COARSE)];
    counts[Math.floor(i / 4) * COARSE + Math.floor(j / 4)] += v;
  });
  const small = Uint8Array.from(counts, (n) => Math.floor(n * (255 / 16) + 0.5));
  const picture = { h: COARSE, w: COARSE, c: 1, data: small };
  return Uint8Array.from(resizePicture(picture, SIZE, SIZE, "bicubic").data);
}

/**
 * Return what was cut out of a picture as the images of a set are.
 * @param {Grid} density @param {string} like
 */
export function laidOut(density, like) {
  if (like === "mnist") return centre(fit(density));
  if (like === "digits") return coarse(fit(widened(density), 4 * COARSE));
  return framed(whole(fit(density, SIZE)), SIZE);
}
