"""PyTorch, for files in which only some of the tests need it: where it is missing, these skip.

Files that need it in every test import it as usual; conftest.py skips these as a whole.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

import pytest

MISSING = ("torch", "torchvision")  # what conftest.py looks for


def reason(who: str, module: str = "torch") -> str:
    """Say why ``who`` is skipped; by name, because pytest folds reasons that are equal."""
    return f"{who} needs {module}, which is not installed; pip install torch torchvision"


class _Nothing:
    """Stands in the place of torch: the first use of it skips the test."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # asked by pytest and inspect, of every global of a module
            raise AttributeError(name)
        test, _, _ = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")
        raise pytest.skip.Exception(reason(test.rpartition("/")[2]), allow_module_level=True)


torch: Any
try:
    import torch
except ModuleNotFoundError:
    torch = _Nothing()
