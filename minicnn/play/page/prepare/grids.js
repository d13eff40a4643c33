/**
 * Arithmetic on pictures that the preparation of a photo needs: medians, minima and maxima over
 * windows, means, connected parts. Each does what NumPy and SciPy do in minicnn/data/paper.py.
 */

/** Numbers of a picture, row by row. @typedef {{h: number, w: number, data: Float64Array}} Grid */
/** Which pixels are meant: 1 or 0. @typedef {{h: number, w: number, data: Uint8Array}} Mask */

/** A connected part; `bottom` and `right` are one past the end.
 * @typedef {{label: number, pixels: number, top: number, left: number, bottom: number,
 *   right: number, height: number, width: number, extent: number}} Part */

/**
 * Return the number that would stand at place k in order. `values` are put into another order.
 * @param {Float64Array} values @param {number} k
 */
export function select(values, k) {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const pivot = values[(low + high) >> 1];
    let [i, j] = [low, high];
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i > j) break;
      const other = values[i];
      values[i++] = values[j];
      values[j--] = other;
    }
    if (k <= j) high = j;
    else if (k >= i) low = i;
    else break;
  }
  return values[k];
}

/**
 * Return the median; of an even count the mean of the two in the middle.
 * @param {Float64Array} values
 */
export function median(values) {
  const copy = values.slice();
  const half = copy.length >> 1;
  const upper = select(copy, half);
  if (copy.length % 2) return upper;
  let lower = -Infinity; // the largest of those that now stand before
  for (let i = 0; i < half; i++) if (copy[i] > lower) lower = copy[i];
  return (lower + upper) / 2;
}

/**
 * Return the number below which a part of all lies, interpolated between two.
 * @param {Float64Array} values @param {number} part
 */
export function quantile(values, part) {
  const at = (values.length - 1) * part;
  const [first, share] = [Math.floor(at), at - Math.floor(at)];
  const low = select(values.slice(), first);
  const high = select(values.slice(), Math.min(first + 1, values.length - 1));
  return share >= 0.5 ? high - (high - low) * (1 - share) : low + (high - low) * share;
}

/**
 * Return which of the values meet a condition.
 * @param {ArrayLike<number>} values @param {(value: number) => boolean} condition
 */
export function where(values, condition) {
  const out = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = condition(values[i]) ? 1 : 0;
  return out;
}

/**
 * Return a part of a grid.
 * @param {Grid} grid @param {number} top @param {number} bottom @param {number} left
 * @param {number} right one past the end, as bottom
 * @returns {Grid}
 */
export function cut({ w, data }, top, bottom, left, right) {
  const out = new Float64Array((bottom - top) * (right - left));
  for (let i = top; i < bottom; i++) {
    out.set(data.subarray(i * w + left, i * w + right), (i - top) * (right - left));
  }
  return { h: bottom - top, w: right - left, data: out };
}

/**
 * Return rows as columns.
 * @template {Grid | Mask} T
 * @param {T} grid
 * @returns {T}
 */
export function turned({ h, w, data }) {
  const out = data.slice();
  for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) out[j * h + i] = data[i * w + j];
  return /** @type {T} */ ({ h: w, w: h, data: out });
}

/**
 * Return the median of 3x3 pixels around each; the outermost go on beyond the edge.
 * @param {Grid} grid
 * @returns {Grid}
 */
export function medianOfNine({ h, w, data }) {
  const out = new Float64Array(h * w);
  const nine = new Float64Array(9);
  for (let i = 0; i < h; i++) {
    const [up, down] = [Math.max(i - 1, 0) * w, Math.min(i + 1, h - 1) * w];
    for (let j = 0; j < w; j++) {
      const left = j > 0 ? j - 1 : 0;
      const right = j < w - 1 ? j + 1 : w - 1;
      const own = data[i * w + j];
      const row = i * w;
      // Most of paper is of one grey.
      if (data[row + left] === own && data[row + right] === own && data[up + j] === own
        && data[down + j] === own && data[up + left] === own && data[up + right] === own
        && data[down + left] === own && data[down + right] === own) {
        out[row + j] = own;
        continue;
      }
      let k = 0;
      for (const start of [up, row, down]) {
        nine[k++] = data[start + left];
        nine[k++] = data[start + j];
        nine[k++] = data[start + right];
      }
      out[row + j] = select(nine, 4);
    }
  }
  return { h, w, data: out };
}

/**
 * Return the largest number of a window of 2 * half + 1 pixels along the rows, or the smallest.
 * @param {Grid} grid @param {number} half @param {1 | -1} sign 1 for the largest
 * @returns {Grid}
 */
function alongRows({ h, w, data }, half, sign) {
  const out = new Float64Array(h * w);
  const queue = new Int32Array(w); // columns that may still be the largest, falling
  for (let i = 0; i < h; i++) {
    const row = i * w;
    let [first, end] = [0, 0];
    for (let j = 0; j < w + half; j++) {
      if (j < w) {
        while (end > first && sign * data[row + queue[end - 1]] <= sign * data[row + j]) end--;
        queue[end++] = j;
      }
      if (j >= half) {
        while (queue[first] < j - 2 * half) first++;
        out[row + j - half] = data[row + queue[first]];
      }
    }
  }
  return { h, w, data: out };
}

/**
 * Return the largest (sign 1) or smallest (sign -1) number of a square window around each pixel.
 * @param {Grid} grid @param {number} half @param {1 | -1} sign
 */
export function extreme(grid, half, sign) {
  return turned(alongRows(turned(alongRows(grid, half, sign)), half, sign));
}

/**
 * Return a grid with its outermost pixels repeated `half` times on every side.
 * @param {Grid} grid @param {number} half
 * @returns {Grid}
 */
export function padEdges({ h, w, data }, half) {
  const [high, wide] = [h + 2 * half, w + 2 * half];
  const out = new Float64Array(high * wide);
  for (let i = 0; i < high; i++) {
    const row = Math.min(Math.max(i - half, 0), h - 1) * w;
    for (let j = 0; j < wide; j++) {
      out[i * wide + j] = data[row + Math.min(Math.max(j - half, 0), w - 1)];
    }
  }
  return { h: high, w: wide, data: out };
}

/**
 * Return the mean of three pixels along the columns; the outermost go on beyond the edge.
 * @param {Grid} grid
 * @returns {Grid}
 */
function meanOfThree({ h, w, data }) {
  const out = new Float64Array(h * w);
  for (let j = 0; j < w; j++) {
    /** @param {number} i */
    const at = (i) => data[Math.min(Math.max(i, 0), h - 1) * w + j];
    let sum = at(-1) + at(0) + at(1);
    out[j] = sum / 3;
    for (let i = 1; i < h; i++) {
      sum += at(i + 1) - at(i - 2); // as SciPy sums, to the last bit
      out[i * w + j] = sum / 3;
    }
  }
  return { h, w, data: out };
}

/** Return the mean of 3x3 pixels around each. @param {Grid} grid */
export function meanOfNine(grid) {
  return turned(meanOfThree(turned(meanOfThree(grid))));
}

/**
 * Return the mask with all eight neighbours.
 * @param {Mask} mask
 * @returns {Mask}
 */
export function grown({ h, w, data }) {
  const out = new Uint8Array(h * w);
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      if (!data[i * w + j]) continue;
      const [left, right] = [Math.max(j - 1, 0), Math.min(j + 1, w - 1) + 1];
      for (let p = Math.max(i - 1, 0); p <= Math.min(i + 1, h - 1); p++) {
        out.fill(1, p * w + left, p * w + right);
      }
    }
  }
  return { h, w, data: out };
}

/**
 * Return labels, 0 for paper, and the connected parts (by eight neighbours), the largest first.
 * @param {Mask} mask
 */
export function components({ h, w, data }) {
  const labels = new Int32Array(h * w);
  /** @type {Part[]} */
  const parts = [];
  for (let start = 0; start < h * w; start++) {
    if (!data[start] || labels[start]) continue;
    const label = parts.length + 1;
    const part = { label, pixels: 0, top: h, left: w, bottom: 0, right: 0 };
    const stack = [start];
    labels[start] = label;
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      const i = Math.floor(at / w);
      const j = at % w;
      part.pixels++;
      part.top = Math.min(part.top, i);
      part.bottom = Math.max(part.bottom, i + 1);
      part.left = Math.min(part.left, j);
      part.right = Math.max(part.right, j + 1);
      for (let p = Math.max(i - 1, 0); p <= Math.min(i + 1, h - 1); p++) {
        for (let q = Math.max(j - 1, 0); q <= Math.min(j + 1, w - 1); q++) {
          if (!data[p * w + q] || labels[p * w + q]) continue;
          labels[p * w + q] = label;
          stack.push(p * w + q);
        }
      }
    }
    const [height, width] = [part.bottom - part.top, part.right - part.left];
    parts.push({ ...part, height, width, extent: Math.max(height, width) });
  }
  parts.sort((a, b) => b.extent - a.extent || b.pixels - a.pixels || a.label - b.label);
  return { labels, parts };
}
