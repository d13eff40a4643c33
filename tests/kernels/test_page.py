"""The page of the kernels: what it writes down runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from minicnn import kernels
from minicnn.ops import leaky_relu

FOLDER = Path(kernels.__file__).parent
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_kernel_that_is_written_there_computes_leaky_relu(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict = {"__name__": "written"}
    exec(compile(code, "written", "exec"), scope)  # from no file: compiled, and not kept
    expected, _ = leaky_relu.forward(scope["x"], 0.1)
    np.testing.assert_allclose(scope["y"], expected, rtol=1e-6)
    assert (scope["y"] < 0).any()
