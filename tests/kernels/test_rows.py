"""How many rows a tile of registers has is for speed alone: with another number all is the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import kernel_cache
from minicnn.kernels.simd import ROWS

COMPUTE = """
import json, sys
import numpy as np
from minicnn import fuse, nn
from minicnn.kernels.simd import ROWS
from minicnn.ops import conv2d
from minicnn.fused import bands

rng = np.random.default_rng(0)
def draw(*shape): return rng.standard_normal(shape)

results = []
for impl in ("direct", "winograd"):
    x, w, b = draw(3, 5, 6, 7), draw(11, 5, 3, 3), draw(11)
    y, cache = conv2d.forward(x, w, b, padding=1, impl=impl)
    results += [y, *conv2d.backward(draw(*y.shape), cache, impl=impl)]
    results.append(conv2d.prepare(w, b, padding=1)(x))
x, w, g, y = draw(2, 16, 8, 7), draw(32, 16, 3, 3), draw(2, 32, 8, 7), draw(2, 32, 8, 7)
norm = tuple(draw(3, 16))
results += [bands.forward(x, norm, w, None)[0]]
got = bands.backward(g, y, tuple(draw(4, 32)), x, norm, w, None)
results += [got.dx, got.dweight, got.sums]
print(json.dumps([ROWS, [r.ravel().tolist() for r in results]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("rows", [3, 6])
def test_nothing_depends_on_the_rows_of_a_tile(rows: int, tmp_path: Path) -> None:
    """As plain Python, which would tell of an index that is out of range."""
    ignored = shutil.ignore_patterns("__pycache__", "page")
    shutil.copytree(kernel_cache.PACKAGE, tmp_path / "other/minicnn", ignore=ignored)
    source = tmp_path / "other/minicnn/kernels/simd.py"
    text = source.read_text(encoding="utf-8")
    assert text.count(f"\nROWS = {ROWS} ") == 1
    source.write_text(text.replace(f"\nROWS = {ROWS} ", f"\nROWS = {rows} "), encoding="utf-8")

    def run(folder: Path) -> tuple:
        done = subprocess.run(
            [sys.executable, "-c", COMPUTE], cwd=folder, capture_output=True, text=True, check=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        )  # fmt: skip
        return tuple(json.loads(done.stdout))

    (count, expected), (other, got) = run(kernel_cache.PACKAGE.parent), run(tmp_path / "other")
    assert (count, other) == (ROWS, rows)
    for one, another in zip(expected, got, strict=True):
        np.testing.assert_allclose(another, one, rtol=1e-9, atol=1e-9)
