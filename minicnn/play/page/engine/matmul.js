/**
 * Products of matrices: the arithmetic of convolutions and linear layers.
 *
 * All numbers are float64. Matrices lie in memory row by row.
 */

/**
 * Add the product of two matrices to a third: c (m, n) += a (m, k) b (k, n).
 *
 * Four rows of b at a time, for two rows of a: a number that was read is used often. Past the end
 * of k the factor is 0, and the row of b is the last one again.
 * @param {Float64Array} a @param {Float64Array} b @param {Float64Array} c
 * @param {number} m @param {number} k @param {number} n
 */
export function addProduct(a, b, c, m, k, n) {
  for (let i = 0; i < m; i += 2) {
    const other = i + 1 < m ? i + 1 : i; // without a second row, nothing is added to it
    const on = i + 1 < m ? 1 : 0;
    for (let q = 0; q < k; q += 4) {
      const q1 = q + 1 < k ? q + 1 : k - 1;
      const q2 = q + 2 < k ? q + 2 : k - 1;
      const q3 = q + 3 < k ? q + 3 : k - 1;
      const a0 = a[i * k + q];
      const a1 = q + 1 < k ? a[i * k + q1] : 0;
      const a2 = q + 2 < k ? a[i * k + q2] : 0;
      const a3 = q + 3 < k ? a[i * k + q3] : 0;
      const d0 = on * a[other * k + q];
      const d1 = q + 1 < k ? on * a[other * k + q1] : 0;
      const d2 = q + 2 < k ? on * a[other * k + q2] : 0;
      const d3 = q + 3 < k ? on * a[other * k + q3] : 0;
      const b0 = q * n;
      const b1 = q1 * n;
      const b2 = q2 * n;
      const b3 = q3 * n;
      const to = i * n;
      const next = other * n;
      for (let j = 0; j < n; j++) {
        const v0 = b[b0 + j];
        const v1 = b[b1 + j];
        const v2 = b[b2 + j];
        const v3 = b[b3 + j];
        c[to + j] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3;
        c[next + j] += d0 * v0 + d1 * v1 + d2 * v2 + d3 * v3;
      }
    }
  }
}

/**
 * Return the transpose (n, m) of a matrix (m, n).
 * @param {Float64Array} a @param {number} m @param {number} n
 */
export function transpose(a, m, n) {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) out[j * m + i] = a[i * n + j];
  }
  return out;
}
