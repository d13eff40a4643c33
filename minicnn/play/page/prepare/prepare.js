/** Pictures of any size made into what the network takes, as `minicnn predict` makes them. */

import { NoDigit, prepareDigit } from "./digit.js";
import { greyOf, rounded } from "./paper.js";
import { resizePicture } from "./pillow.js";

/** @typedef {import("../content.js").Content} Content */
/** @typedef {Uint8ClampedArray | Uint8Array} Pixels */

const LARGEST = 40e6; // pixels of a picture, at most

/**
 * Return the image (h, w, c) for the network, and what was done to the picture.
 *
 * Networks of digits take digits on paper; others take the middle of the picture, resized. Throws
 * NoDigit where there is no digit, or more than one.
 * @param {Pixels} rgba pixels (h, w, rgba) @param {number} h @param {number} w
 * @param {Content} content
 */
export function prepare(rgba, h, w, { form, shorterSide, image: [c, oh, ow] }) {
  if (form) {
    const done = prepareDigit(greyOf(rgba, h, w), form);
    return { image: done.image, note: `Prepared as the images of ${form}: ${done.note}.` };
  }
  const same = h === oh && w === ow;
  const factor = shorterSide ? shorterSide / Math.min(h, w) : Math.max(oh / h, ow / w);
  const [high, wide] = [h, w].map((n) => (same ? n : Math.max(rounded(n * factor), 1)));
  const picture = resizePicture({ h, w, c: 4, data: rgba }, high, wide, "bilinear");
  const [top, left] = [rounded((high - oh) / 2), rounded((wide - ow) / 2)];
  const grey = c === 1 ? greyOf(picture.data, high, wide).data : null;
  const image = new Uint8Array(c * oh * ow);
  for (let i = 0; i < oh; i++) {
    for (let j = 0; j < ow; j++) {
      const at = (top + i) * wide + left + j;
      for (let k = 0; k < c; k++) {
        image[(i * ow + j) * c + k] = grey ? grey[at] : picture.data[4 * at + k];
      }
    }
  }
  const note = same ? "Left as it is." : `${h}×${w} resized, its middle cut to ${oh}×${ow}.`;
  return { image, note };
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
