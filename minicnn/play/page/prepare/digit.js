/**
 * A digit on paper made into an image as MNIST's are, or as those of its kin, as
 * minicnn/data/prepare.py makes it.
 */

import { components, cut, grown, where } from "./grids.js";
import { boxOf, FORMS, laidOut } from "./frame.js";
import {
  clothOf, densityOf, findInk, isDark, paperOfTheEdge, rimOf, shrink, withoutInk,
} from "./paper.js";

/** @typedef {import("./grids.js").Grid} Grid */
/** @typedef {import("./grids.js").Mask} Mask */
/** @typedef {import("./grids.js").Part} Part */

const LOW = 0.2; // of full ink: where grey begins
const HIGH = 0.8; // and ends
const NEAR = 0.25; // of the digit's extent: how far away a part of it may lie
const LARGE = 0.5; // of the larger one's height: two parts as high as this are two digits
const SECOND = 0.2; // of the digit's extent: a part as large as this, and not near, is no speck

/** A picture that does not show one digit; the message says what it shows. */
export class NoDigit extends Error {}

/**
 * Return what a grey picture of any size shows, as the images (28, 28) of the set `like` are made,
 * and what was done to it.
 *
 * Throws NoDigit where there is no digit or more than one.
 * @param {Grid} image @param {string} like mnist, digits, kmnist or fashion-mnist
 */
export function prepareDigit(image, like = "mnist") {
  const { h, w } = image;
  if (FORMS[like](image)) return { image: Uint8Array.from(image.data), note: "left as it is" };
  const { small: whole, factor } = shrink(image);
  const rim = rimOf(whole);
  const small = cut(whole, rim.top, whole.h - rim.bottom, rim.left, whole.w - rim.right);
  const clothes = like === "fashion-mnist";
  let dark = clothes ? paperOfTheEdge(small).grey >= 128 : isDark(small);
  const sheet = clothes ? paperOfTheEdge(small).sheet : withoutInk(small, dark);
  const found = densityOf(small, sheet, dark);
  const ink = clothes ? clothOf(found) : findInk(found);
  if (!ink) throw new NoDigit("no digit is visible: nothing stands out from the paper.");
  if (clothes && found.data.reduce((sum, v, i) => sum + ink.mask.data[i] * v, 0) < 0) {
    dark = !dark; // light cloth on light paper
  }
  const oneDigit = like === "mnist" || like === "digits";
  const { digit, others } = oneDigit ? digitOf(ink.mask) : { digit: ink.mask, others: 0 };
  const [low, high] = clothes ? [0, 1] : [LOW, HIGH];
  const near = grown(digit).data;
  const density = {
    ...small,
    data: ink.density.data.map((v, i) =>
      near[i] ? Math.max(0, Math.min(1, (v / ink.full - low) / (high - low))) : 0,
    ),
  };
  const [top, bottom, left, right] = boxOf(density);
  const cropped = cut(density, top, bottom, left, right);
  const rows = [(top + rim.top) * factor, Math.min((bottom + rim.top) * factor, h) - 1];
  const columns = [(left + rim.left) * factor, Math.min((right + rim.left) * factor, w) - 1];
  const shade = smallest(sheet.data) / Math.max(-smallest(sheet.data.map((v) => -v)), 1);
  const done = [`${dark ? "dark" : "light"} ink at rows ${rows.join(" to ")}, columns `
    + `${columns.join(" to ")}`];
  if (shade < 0.95) done.push("shade removed");
  if (rim.top || rim.bottom || rim.left || rim.right) done.push("dark rim cut off");
  for (const [n, one] of /** @type {[number, string][]} */ ([
    [ink.lines, "ruled line"], [ink.others + others, "speck"],
  ])) {
    if (n) done.push(`${n} ${one}${n > 1 ? "s" : ""} removed`);
  }
  return { image: laidOut(cropped, like), note: done.join("; ") };
}

/** @param {Float64Array} values */
function smallest(values) {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
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
    else if (part.extent >= SECOND * first.extent) {
      throw new NoDigit("beside the digit there is another mark, too large for a speck. Cut the "
        + "picture to one digit; if light or glare has broken a stroke, take the picture again.");
    } else others++;
  }
  if (digits > 1) {
    throw new NoDigit(`${digits} digits are visible, not one. Cut the picture to one digit.`);
  }
  const kept = new Set(own.map(({ label }) => label));
  const data = where(labels, (label) => kept.has(label));
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
