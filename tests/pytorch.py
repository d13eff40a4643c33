"""PyTorch, for files in which only some of the tests need it: where it is missing, these skip.

Files that need it in every test import it as usual; conftest.py skips these as a whole.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

REASON = "needs {}, which is not installed; pip install torch torchvision"
MISSING = ("torch", "torchvision")  # what conftest.py looks for


class _Nothing:
    """Stands in the place of torch: the first use of it skips the test."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by pytest and inspect, of every global of a module
            raise AttributeError(name)
        return pytest.skip(REASON.format("torch"))


torch: ModuleType | Any
try:
    import torch
except ModuleNotFoundError:
    torch = _Nothing()
