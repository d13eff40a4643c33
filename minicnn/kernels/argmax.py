"""The winner of a window of max pooling: some channels at a time, as a vector.

A window is a list of addresses, so that any shape of window will do.
"""

from __future__ import annotations

import numpy as np

from minicnn.backend import inner
from minicnn.kernels.simd import (
    ROWS,
    VECTOR_BYTES,
    Tile,
    at,
    load,
    select,
    spread,
    spread_index,
    store,
)

HALF = Tile(ROWS, VECTOR_BYTES // 2)  # for few channels: vectors of half a register


@inner(inline=True)
def choose(z, e, window, nobody, best, place, start, tile):
    """Write the greatest pixel of each channel of a vector, and which pixel it is.

    ``window`` is (members, taps, first, end): the pixels lie at z[members[i] + e], and taps[i] is
    their name, for first <= i < end. The winner is the first of equals, but the last of NaN;
    ``nobody`` wins while none is greater than minus infinity.
    """
    greatest, which = _greatest(z, e, window, nobody, tile)
    store(greatest, best, start)
    store(which, place, start)


@inner(inline=True)
def choose_positive(z, e, window, nobody, best, place, start, tile):
    """Do the same after ReLU: where the greatest is not above 0, it is 0, and nobody wins."""
    greatest, which = _greatest(z, e, window, nobody, tile)
    dead = greatest <= 0
    store(select(dead, spread(0, z, tile), greatest), best, start)
    store(select(dead, spread_index(nobody, z, tile), which), place, start)


@inner(inline=True)
def _greatest(z, e, window, nobody, tile):
    members, taps, i, end = window
    greatest, which = spread(-np.inf, z, tile), spread_index(nobody, z, tile)
    while i < end:  # a range is unrolled, and slower: windows are small
        new = load(z, at(members, i) + e, tile)
        wins = (new > greatest) | (new != new)
        greatest = select(wins, new, greatest)
        which = select(wins, spread_index(at(taps, i), z, tile), which)
        i += 1
    return greatest, which
