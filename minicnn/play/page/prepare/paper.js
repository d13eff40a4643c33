/**
 * Finding the ink in a picture of paper: grey, shade, polarity, and what is not ink.
 *
 * The same arithmetic as in minicnn/data/paper.py, which says why it is so.
 */

import {
  components, cut, extreme, grown, meanOfNine, median, medianOfNine, padEdges, quantile, select,
  turned, where,
} from "./grids.js";
import { ruledLines } from "./lines.js";

/** @typedef {import("./grids.js").Grid} Grid */
/** @typedef {import("./grids.js").Mask} Mask */
/** @typedef {{density: Grid, mask: Mask, full: number, lines: number, others: number}} Ink */

const SIDE_LIMIT = 400; // the longest side on which ink is looked for
const WINDOW = 0.35; // of the closing, as a part of the longest side
const FLOOR = 16; // grey that is black to a camera
const TILES = 4; // along a side, in which the paper's usual grey is looked up
const LEAST = 0.1; // density of the faintest ink
const NOISE = 6; // times the noise that ink must be denser than
const HALF = 0.45; // of full ink: denser is ink
const BLACK = 0.4; // of the paper's grey: darker is a rim
const RIM = 0.25; // of a side: how far a dark rim may reach into the picture
const EDGE = 0.12; // of a side: what keeps to the edge within this is no digit

/**
 * Return the grey of pixels, as Pillow has it.
 * @param {Uint8ClampedArray | Uint8Array} rgba (h, w, rgba) @param {number} h @param {number} w
 * @returns {Grid}
 */
export function greyOf(rgba, h, w) {
  const data = new Float64Array(h * w);
  for (let i = 0; i < h * w; i++) {
    const at = 4 * i;
    data[i] = (19595 * rgba[at] + 38470 * rgba[at + 1] + 7471 * rgba[at + 2] + 32768) >> 16;
  }
  return { h, w, data };
}

/**
 * Return means over blocks, so that no side is longer than the limit, and the blocks' side.
 * @param {Grid} grid
 */
export function shrink({ h, w, data }) {
  const factor = Math.ceil(Math.max(h, w) / SIDE_LIMIT);
  if (factor === 1) return { small: { h, w, data }, factor };
  const [rows, columns] = [Math.ceil(h / factor), Math.ceil(w / factor)];
  const sums = new Float64Array(rows * columns);
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      sums[Math.floor(i / factor) * columns + Math.floor(j / factor)] += data[i * w + j];
    }
  }
  const small = sums.map((sum, at) => {
    const [i, j] = [Math.floor(at / columns) * factor, (at % columns) * factor];
    return sum / (Math.min(factor, h - i) * Math.min(factor, w - j));
  });
  return { small: { h: rows, w: columns, data: small }, factor };
}

/**
 * Return how many rows and columns of each side are a dark rim.
 * @param {Grid} image
 */
export function rimOf(image) {
  const { h, w, data } = image;
  if (Math.min(h, w) < 64) return { top: 0, bottom: 0, left: 0, right: 0 };
  const black = BLACK * quantile(data, 0.75);
  /** @param {number} length @param {number} across @param {(i: number, j: number) => number} at */
  const depth = (length, across, at) => {
    for (let i = 0; i < Math.trunc(RIM * length); i++) {
      let dark = 0;
      for (let j = 0; j < across; j++) dark += +(at(i, j) < black);
      if (i === 0 && dark / across < 0.9) return 0;
      if (dark / across <= 0.5) return i + 2;
    }
    return 0;
  };
  return {
    top: depth(h, w, (i, j) => data[i * w + j]),
    bottom: depth(h, w, (i, j) => data[(h - 1 - i) * w + j]),
    left: depth(w, h, (i, j) => data[j * w + i]),
    right: depth(w, h, (i, j) => data[j * w + w - 1 - i]),
  };
}

/** Return a half rounded to even, as Python rounds. @param {number} v */
export function rounded(v) {
  const floor = Math.floor(v);
  return v - floor === 0.5 ? floor + (floor % 2) : Math.round(v);
}

/**
 * Return whether the ink is darker than the paper.
 * @param {Grid} image
 */
export function isDark({ h, w, data }) {
  const logs = { h, w, data: data.map((v) => Math.log(v + FLOOR)) };
  const [ys, xs] = [h, w].map((n) =>
    Array.from({ length: TILES + 1 }, (_, k) => rounded((n * k) / TILES)),
  );
  const [rows, columns] = [Math.floor(h / 16), Math.floor(w / 16)];
  let total = 0;
  for (let i = 0; i < TILES; i++) {
    for (let j = 0; j < TILES; j++) {
      if (ys[i] === ys[i + 1] || xs[j] === xs[j + 1]) continue;
      const [top, bottom] = [ys[Math.max(i - 1, 0)], ys[Math.min(i + 2, TILES)]];
      const [left, right] = [xs[Math.max(j - 1, 0)], xs[Math.min(j + 2, TILES)]];
      const usual = median(cut(logs, top, bottom, left, right).data);
      for (let p = Math.max(ys[i], rows); p < Math.min(ys[i + 1], h - rows); p++) {
        for (let q = Math.max(xs[j], columns); q < Math.min(xs[j + 1], w - columns); q++) {
          total += (logs.data[p * w + q] - usual) ** 3;
        }
      }
    }
  }
  return total <= 0;
}

/**
 * Return the paper alone: the closing for dark ink, the opening for light ink.
 * @param {Grid} image @param {boolean} dark
 */
export function withoutInk(image, dark) {
  const half = Math.trunc((WINDOW * Math.max(image.h, image.w)) / 2);
  const padded = padEdges(medianOfNine(image), half);
  const first = extreme(padded, half, dark ? 1 : -1);
  const paper = extreme(first, half, dark ? -1 : 1);
  return cut(paper, half, half + image.h, half, half + image.w);
}

/**
 * Return how much ink covers each pixel, in units that only this picture has; paper is 0.
 * @param {Grid} image @param {Grid} paper @param {boolean} dark
 * @returns {Grid}
 */
export function densityOf(image, paper, dark) {
  const { h, w } = image;
  /** @type {Grid} */
  let d = {
    h, w,
    data: image.data.map((v, i) => {
      const sheet = paper.data[i];
      return dark ? (sheet - v) / Math.max(sheet, 1) : (v - sheet) / (sheet + FLOOR);
    }),
  };
  if (Math.max(h, w) >= 100) d = meanOfNine(d);
  const usual = median(d.data);
  return { h, w, data: d.data.map((v) => v - usual) };
}

/** Return the density of full ink. @param {Grid} d */
function fullInk({ data }) {
  const k = Math.min(8 + Math.floor(data.length / 4096), data.length);
  return select(data.slice(), data.length - k);
}

/**
 * Return the ink of a picture by its density, or null where there is none.
 * @param {Grid} density
 * @returns {Ink | null}
 */
export function findInk(density) {
  const { h, w } = density;
  const d = { h, w, data: density.data.slice() };
  let [lines, others] = [0, 0];
  const least = Math.max(LEAST, NOISE * 1.4826 * median(d.data.map(Math.abs)));
  for (;;) {
    const full = fullInk(d);
    if (!(full >= least)) return null;
    const mask = { h, w, data: where(d.data, (v) => v > HALF * full) };
    const across = ruledLines(mask);
    const down = ruledLines(turned(mask));
    const back = turned({ h: w, w: h, data: down.found }).data;
    let wrong = across.found.map((v, i) => v | back[i]);
    lines += across.lines + down.lines;
    if (!wrong.some(Boolean)) {
      const found = atTheEdgeOrSpecks(mask);
      wrong = found.wrong;
      others += found.count;
    }
    if (!wrong.some(Boolean)) return { density: d, mask, full, lines, others };
    const near = grown({ h, w, data: wrong }).data;
    for (let i = 0; i < h * w; i++) {
      if (near[i] && !(mask.data[i] && !wrong[i])) d.data[i] = 0;
    }
  }
}

/**
 * Return the pixels of what is neither within the picture nor large, and how many parts.
 * @param {Mask} mask
 */
function atTheEdgeOrSpecks(mask) {
  const { h, w } = mask;
  const { labels, parts } = components(mask);
  /** @param {import("./grids.js").Part} p */
  const free = (p) => Math.min(p.top, p.left, h - p.bottom, w - p.right);
  const within = parts.filter((p) => free(p) > 0).map((p) => p.extent);
  const largest = within.reduce((a, b) => Math.max(a, b), 0);
  const deepest = new Float64Array(parts.length + 1);
  for (let at = 0; at < h * w; at++) {
    if (!labels[at]) continue;
    const i = Math.floor(at / w);
    const j = at % w;
    const inwards = Math.min(Math.min(i, h - 1 - i) / h, Math.min(j, w - 1 - j) / w);
    if (inwards > deepest[labels[at]]) deepest[labels[at]] = inwards;
  }
  const wrong = new Set(parts.filter((part) => {
    if (part.extent < 0.02 * Math.max(h, w)) return true;
    if (free(part) > 0) return false;
    return deepest[part.label] < EDGE || (within.length > 0 && largest >= 0.3 * part.extent);
  }).map(({ label }) => label));
  return { wrong: where(labels, (label) => wrong.has(label)), count: wrong.size };
}

/**
 * Return the median of the picture's edge, and paper of this one grey.
 * @param {Grid} image
 */
export function paperOfTheEdge({ h, w, data }) {
  const ring = [];
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      if (i === 0 || j === 0 || i === h - 1 || j === w - 1) ring.push(data[i * w + j]);
    }
  }
  const grey = median(Float64Array.from(ring));
  return { grey, sheet: { h, w, data: new Float64Array(h * w).fill(grey) } };
}

/**
 * Return what differs from paper of one grey, of which no part is smaller than 0.1.
 * @param {Grid} signed
 * @returns {Ink | null}
 */
export function clothOf(signed) {
  const { h, w } = signed;
  const d = { h, w, data: signed.data.map((v) => Math.abs(v)) };
  const dense = where(d.data, (v) => v > LEAST);
  const { labels, parts } = components({ h, w, data: dense });
  const large = parts.filter((part) => part.extent >= 0.1 * Math.max(h, w));
  if (!large.length) return null;
  const kept = new Set(large.map(({ label }) => label));
  const mask = { h, w, data: where(labels, (label) => kept.has(label)) };
  const full = Math.max(fullInk(d), LEAST);
  return { density: d, mask, full, lines: 0, others: parts.length - large.length };
}
