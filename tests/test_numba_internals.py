"""What is taken from inside Numba stands in one file; without it, kernels compute the same."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from minicnn import kernel_cache, numba_internals
from tests.arrays import compiled

ROOT = kernel_cache.PACKAGE.parent
INTERNALS = Path(numba_internals.__file__)
PUBLIC = {"numba", "numba.extending"}  # the modules whose names Numba documents
WRITES_LLVM = {f"kernels/{name}.py" for name in ("parallel", "simd", "simd_rows")}


def sources() -> list[Path]:
    """All files of the project that run, but its tests."""
    rooms = (kernel_cache.PACKAGE, ROOT / "reference", ROOT / "examples")
    return [path for room in rooms for path in sorted(room.rglob("*.py"))]


def name_of(path: Path) -> str:
    """Return the path within minicnn, or within the project."""
    inside = path.is_relative_to(kernel_cache.PACKAGE)
    return path.relative_to(kernel_cache.PACKAGE if inside else ROOT).as_posix()


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
    return found


def test_what_numba_does_not_document_stands_in_one_file() -> None:
    for path in sources():
        private = {name for name in imported(path) if name.startswith("numba.")} - PUBLIC
        assert not private or path == INTERNALS, (path, private)
        text = path.read_text(encoding="utf-8")
        for name in ("numba.core", "numba.np", "._compiler", "._cache", "_nrt"):
            assert name not in text or path == INTERNALS, (path, name)


def test_llvm_is_written_in_three_files() -> None:
    writing = {
        name_of(path)
        for path in sources()
        if any(name.partition(".")[0] == "llvmlite" for name in imported(path))
    }
    assert writing == WRITES_LLVM


def test_this_numba_is_one_that_may_be_installed() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"{numba_internals.TESTED}"' in text
    least, below = numba_internals.TESTED.removeprefix("numba>=").split(",<")
    this = [int(part) for part in numba.__version__.split(".")[:2]]
    assert [int(part) for part in least.split(".")] <= this
    assert this < [int(part) for part in below.split(".")]


def test_what_is_missing_is_found() -> None:
    assert not list(numba_internals.missing())
    names = ("numba:njit", "numba:gone", "numba.gone:njit", "numba.core.cpu:CPUContext.gone")
    assert tuple(numba_internals.missing(names)) == names[1:]


COMPUTE = """
import json, sys
import numpy as np
from minicnn import kernel_cache, numba_internals
from minicnn.kernels.parallel import shared
from minicnn.ops import conv2d, max_pool2d
from minicnn.pool import set_threads

@shared
def double(task, tasks, x, out):
    out[task] = 2 * x[task] + tasks

rng = np.random.default_rng(0)
x = rng.standard_normal((3, 4, 9, 8), dtype=np.float32)
w = rng.standard_normal((5, 4, 3, 3), dtype=np.float32)
results, out = [], np.zeros(7)
double(7, np.arange(7.0), out)
results.append(out)
for impl in ("direct", "winograd"):
    y, cache = conv2d.forward(x, w, None, padding=1, impl=impl)
    z, pool_cache = max_pool2d.forward(y, 2)
    dx, dw, _ = conv2d.backward(max_pool2d.backward(np.ones_like(z), pool_cache), cache)
    results += [y, z, dx, dw]
said = [np.ascontiguousarray(r).tobytes().hex() for r in results]
print(json.dumps([numba_internals.SHARES, kernel_cache.sources(), said]))
"""


@pytest.mark.slow
@compiled
def test_without_share_prange_computes_the_same_bits(tmp_path: Path) -> None:
    program = tmp_path / "compute.py"
    program.write_text(COMPUTE, encoding="utf-8")

    def run(prange: str) -> tuple:
        done = subprocess.run(
            [sys.executable, str(program)], env={**os.environ, "MINICNN_PRANGE": prange},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return tuple(json.loads(done.stdout))

    shares, digest, expected = run("0")
    shares_too, other_digest, got = run("1")
    assert (shares, shares_too) == (True, False)
    assert digest != other_digest  # else the one would take the code of the other
    assert got == expected
