/** Pictures of any size made into what the network takes, as `minicnn predict` makes them. */

import { NoDigit, prepareDigit, shares } from "./digit.js";
import { greyOf } from "./paper.js";

/** @typedef {import("../content.js").Content} Content */
/** @typedef {Uint8ClampedArray | Uint8Array} Pixels */

const LARGEST = 40e6; // pixels of a picture, at most

/**
 * Return the image (h, w, c) for the network, and what was done to the picture.
 *
 * Networks of grey images of 28x28 take digits on paper; others take the middle of the picture.
 * Throws NoDigit where there is no digit, or more than one.
 * @param {Pixels} rgba pixels (h, w, rgba) @param {number} h @param {number} w
 * @param {Content} content
 */
export function prepare(rgba, h, w, { image: [c, oh, ow] }) {
  if (c === 1 && oh === 28 && ow === 28) {
    const done = prepareDigit(greyOf(rgba, h, w));
    return { image: done.image, note: `Prepared as MNIST's digits were: ${done.note}.` };
  }
  const grey = c === 1 ? greyOf(rgba, h, w).data : null;
  const scale = Math.min(h / oh, w / ow);
  const [high, wide] = [Math.round(oh * scale), Math.round(ow * scale)];
  const [top, left] = [Math.floor((h - high) / 2), Math.floor((w - wide) / 2)];
  const [down, across] = [shares(high, oh), shares(wide, ow)];
  const image = new Uint8Array(c * oh * ow);
  for (let k = 0; k < c; k++) {
    for (let i = 0; i < oh; i++) {
      for (let j = 0; j < ow; j++) {
        let total = 0;
        for (let p = 0; p < high; p++) {
          if (!down[i * high + p]) continue;
          for (let q = 0; q < wide; q++) {
            const share = across[j * wide + q];
            if (!share) continue;
            const at = (top + p) * w + left + q;
            total += down[i * high + p] * share * (grey ? grey[at] : rgba[4 * at + k]);
          }
        }
        image[(i * ow + j) * c + k] = Math.round(total);
      }
    }
  }
  return { image, note: `The middle of the picture, ${oh}×${ow} pixels.` };
}

/**
 * Return the pixels of a picture in a file, on white paper; null where it is no picture.
 * @param {File} file
 */
export async function pixelsOfFile(file) {
  /** @type {ImageBitmap} */
  let picture;
  try {
    picture = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    return null;
  }
  const { width: w, height: h } = picture;
  if (w * h > LARGEST) throw new NoDigit(`the picture has ${w}×${h} pixels. Make it smaller first.`);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [w, h];
  const drawing = canvas.getContext("2d");
  if (!drawing) return null;
  drawing.fillStyle = "#ffffff";
  drawing.fillRect(0, 0, w, h);
  drawing.drawImage(picture, 0, 0);
  return { picture, pixels: drawing.getImageData(0, 0, w, h).data, h, w };
}
