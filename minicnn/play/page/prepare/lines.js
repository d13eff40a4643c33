/** Ruled lines on paper, found as minicnn/data/paper.py finds them (Hough's transform). */

import { median } from "./grids.js";

/** @typedef {import("./grids.js").Mask} Mask */

const SLANT = 0.18; // tangent of the steepest ruled line, about 10 degrees
const COVER = 0.7; // part of a row that a ruled line must cover
const SEARCHES = 12; // for ruled lines, each of which finds all of one slope
const THIN = 0.03; // of the longest side: thickness of the thickest ruled line

/**
 * Return which pixels are of ruled lines that run from left to right, and how many lines.
 * @param {Mask} mask
 */
export function ruledLines(mask) {
  const { h, w } = mask;
  const found = new Uint8Array(h * w);
  let lines = 0;
  if (w < 20 || h < 20) return { found, lines };
  const left = { h, w, data: mask.data.slice() };
  for (let search = 0; search < SEARCHES; search++) {
    const { best, slope } = steepest(left);
    const enough = Array.from(best.keys()).filter((y0) => best[y0] >= COVER * w);
    if (!enough.length) break;
    enough.sort((a, b) => best[b] - best[a] || a - b);
    for (const y0 of enough) if (takeLine(left, found, y0, slope)) lines++;
  }
  return { found, lines };
}

/**
 * Return the slope on which a line holds most dark columns, and how many for each of its rows.
 * @param {Mask} left
 */
function steepest({ h, w, data }) {
  let best = new Int32Array(h);
  let [most, slope] = [0, 0];
  const [xs, ys] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
  for (let at = 0; at < h * w; at++) {
    if (!data[at]) continue;
    ys.push(Math.floor(at / w));
    xs.push((at % w) - Math.floor(w / 2));
  }
  if (xs.length < COVER * w) return { best, slope };
  const reach = Math.trunc((SLANT * w) / 2);
  for (let k = -reach; k <= reach; k++) {
    const tangent = k * (2 / w);
    const counts = new Int32Array(h);
    for (let i = 0; i < xs.length; i++) {
      const offset = Math.floor(ys[i] - tangent * xs[i] + 0.5);
      if (offset >= 0 && offset < h) counts[offset]++;
    }
    const own = counts.reduce((a, b) => Math.max(a, b), 0);
    if (own > most) [best, most, slope] = [counts, own, tangent];
  }
  return { best, slope };
}

/**
 * Take a line out of `left`; write it into `found` and return true if it is a ruled line.
 * @param {Mask} left @param {Uint8Array} found @param {number} y0 @param {number} slope
 */
function takeLine({ h, w, data }, found, y0, slope) {
  /** @type {{column: number, on: number, top: number, bottom: number}[]} */
  const runs = [];
  for (let column = 0; column < w; column++) {
    const on = Math.floor(y0 + slope * (column - Math.floor(w / 2)) + 0.5);
    if (on < 0 || on >= h || !data[on * w + column]) continue;
    let [top, bottom] = [on, on];
    while (top > 0 && data[(top - 1) * w + column]) top--;
    while (bottom < h && data[bottom * w + column]) bottom++;
    runs.push({ column, on, top, bottom });
  }
  if (runs.length < COVER * w) return false; // what a line above took was dark here too
  const thick = Math.trunc(median(Float64Array.from(runs, ({ top, bottom }) => bottom - top)));
  const tenth = Math.max(Math.floor(w / 10), 1);
  const first = runs.filter(({ column }) => column < tenth).length;
  const last = runs.filter(({ column }) => column >= w - tenth).length;
  const whole = thick <= THIN * Math.max(h, w) + 1 && Math.min(first, last) >= tenth / 2;
  for (const { column, on, top, bottom } of runs) {
    if (bottom - top <= thick + Math.max(2, Math.floor(thick / 2))) {
      for (let i = top; i < bottom; i++) {
        data[i * w + column] = 0;
        if (whole) found[i * w + column] = 1;
      }
    } else data[on * w + column] = 0;
  }
  return whole;
}
