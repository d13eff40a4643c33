"""What is done to the sums of a convolution on their way to the output, a vector at a time.

``finish`` adds, cuts off and stores; ``greatest`` takes the greatest of a window. What an output
has less than whole vectors is left out of the last one.
"""

from __future__ import annotations

from minicnn.backend import inner
from minicnn.kernels.simd import ONE, at, lanes_in, load_some, select, spread, store_some


@inner(inline=True)
def finish(sums, s0, added, a0, low, y, y0, count):
    """y[y0 + e] = max(sums[s0 + e] + added[a0 + e], low) for e < count; NaN stays NaN.

    An empty ``added`` adds nothing.
    """
    for e in range(0, count, lanes_in(y, ONE)):
        left = count - e
        z = load_some(sums, s0 + e, left, ONE)
        if added.size:
            z = z + load_some(added, a0 + e, left, ONE)
        store_some(select(z < low, spread(low, y, ONE), z), y, y0 + e, left)


@inner(inline=True)
def greatest(x, window, low, y, y0, count):
    """y[y0 + e] = max(low, x[first + i*step + columns[j] + e] over i < rows, c0 <= j < c1)

    for e < count, with the ``window`` (first, step, rows, columns, c0, c1). NaN is greater than
    anything.
    """
    first, step, rows, columns, c0, c1 = window
    for e in range(0, count, lanes_in(y, ONE)):
        left = count - e
        best = spread(low, x, ONE)
        for i in range(rows):
            for j in range(c0, c1):
                new = load_some(x, first + i * step + at(columns, j) + e, left, ONE)
                best = select((new > best) | (new != new), new, best)
        store_some(best, y, y0 + e, left)
