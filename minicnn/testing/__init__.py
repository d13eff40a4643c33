"""Gradient checks for any layer: ours, or your own.

    from minicnn.testing import gradcheck

    gradcheck(my_layer, x)

tells whether backward is the derivative of forward, which argument and element is worst, and often
why. ``minicnn.testing.strategies`` draws inputs, and ``check_op`` and ``check_layer`` turn them
into tests; these three need hypothesis (``pip install hypothesis``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minicnn.testing.checker import gradcheck
from minicnn.testing.report import GradientError, Report

if TYPE_CHECKING:
    from minicnn.testing.decorators import check_layer, check_op

__all__ = ["GradientError", "Report", "check_layer", "check_op", "gradcheck"]


def __getattr__(name: str) -> Any:
    """Import the decorators at their first use, because the checker needs no hypothesis."""
    if name not in ("check_layer", "check_op"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from minicnn.testing import decorators
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ModuleNotFoundError(
            f"minicnn.testing.{name} needs hypothesis: pip install hypothesis",
            name="hypothesis",
        ) from error
    return getattr(decorators, name)
