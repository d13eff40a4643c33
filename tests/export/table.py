"""The greatest difference between onnxruntime and minicnn, network by network, at full size.

python -m tests.export.table [NAME ...]
"""

from __future__ import annotations

import sys

import numpy as np

from minicnn import models
from tests.export.runtime import TOLERANCE, difference
from tests.networks import well_scaled


def measure(name: str, **options: int) -> float:
    """Return the difference on two images of the size that the network is made for."""
    model = models.MODELS[name].build(rng=np.random.default_rng(0), **options)
    well_scaled(model, np.random.default_rng(1))
    return difference(model, models.MODELS[name].image)


def main(names: list[str]) -> int:
    worst = 0.0
    for name in names or models.MODELS:
        found = measure(name)
        worst = max(worst, found)
        print(f"{name:<20} {found:.1e}", flush=True)
    print(f"greatest: {worst:.1e}, allowed: {TOLERANCE:.0e}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
