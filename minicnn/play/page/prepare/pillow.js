/**
 * Resizing as Pillow does it, with whole numbers: each output is a weighted sum of the pixels under
 * a filter, which grows where the picture shrinks. Rows first, then columns; each is rounded.
 */

/** Values of a picture with its channels last. @typedef {{h: number, w: number, c: number, data: Uint8Array | Uint8ClampedArray}} Picture */

const BITS = 22; // of the weights behind the binary point

/** Filters by name: how far they reach, and their values. */
const FILTERS = {
  bilinear: { reach: 1, value: (/** @type {number} */ x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    reach: 2,
    value(/** @type {number} */ x) {
      const [a, t] = [-0.5, Math.abs(x)];
      if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
      return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
    },
  },
};

/**
 * Return for each output the first pixel and the weights of those that it is made of.
 * @param {number} size @param {number} out @param {"bilinear" | "bicubic"} name
 */
function weightsOf(size, out, name) {
  const { reach, value } = FILTERS[name];
  const scale = size / out;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: out }, (_, i) => {
    const middle = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(middle - reach * stretch + 0.5), 0);
    const end = Math.min(Math.trunc(middle + reach * stretch + 0.5), size);
    const raw = Array.from({ length: end - first }, (_unused, k) =>
      value((k + first - middle + 0.5) / stretch),
    );
    const total = raw.reduce((sum, v) => sum + v, 0);
    const weights = raw.map((v) => {
      const whole = (v / total) * 2 ** BITS;
      return Math.trunc(whole < 0 ? whole - 0.5 : whole + 0.5);
    });
    return { first, weights };
  });
}

/**
 * Return the picture with rows of another length.
 * @param {Picture} picture @param {number} out @param {"bilinear" | "bicubic"} name
 * @returns {Picture}
 */
function resizeRows({ h, w, c, data }, out, name) {
  if (out === w) return { h, w, c, data };
  const all = weightsOf(w, out, name);
  const result = new Uint8Array(h * out * c);
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < out; j++) {
      const { first, weights } = all[j];
      for (let channel = 0; channel < c; channel++) {
        let total = 2 ** (BITS - 1);
        for (let k = 0; k < weights.length; k++) {
          total += data[(i * w + first + k) * c + channel] * weights[k];
        }
        const pixel = Math.floor(total / 2 ** BITS);
        result[(i * out + j) * c + channel] = Math.max(0, Math.min(255, pixel));
      }
    }
  }
  return { h, w: out, c, data: result };
}

/**
 * Return rows as columns.
 * @param {Picture} picture
 * @returns {Picture}
 */
function onItsSide({ h, w, c, data }) {
  const out = new Uint8Array(h * w * c);
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      for (let k = 0; k < c; k++) out[(j * h + i) * c + k] = data[(i * w + j) * c + k];
    }
  }
  return { h: w, w: h, c, data: out };
}

/**
 * Return the picture at another size.
 * @param {Picture} picture @param {number} h @param {number} w @param {"bilinear" | "bicubic"} name
 */
export function resizePicture(picture, h, w, name) {
  const rows = resizeRows(picture, w, name);
  return rows.h === h ? rows : onItsSide(resizeRows(onItsSide(rows), h, name));
}
