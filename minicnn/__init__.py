"""minicnn: convolutional networks from scratch in NumPy and Numba, every gradient by hand.

``minicnn.ops`` is the arithmetic, ``minicnn.nn`` the layers, ``minicnn.models`` the networks,
``minicnn.optim`` the optimisers, ``minicnn.data`` the images, ``minicnn.train`` the loop,
``minicnn.insight`` looks into a network, and ``minicnn.fuse`` makes it faster.

Each part is imported when it is first used. So Ctrl-C can stop the command from its first moment.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minicnn.version import __version__

if TYPE_CHECKING:
    from minicnn import insight, models, nn, ops
    from minicnn.fused import fuse
    from minicnn.pool import set_threads
    from minicnn.shapes import ShapeError

__all__ = [
    "ShapeError", "__version__", "fuse", "insight", "models", "nn", "ops", "set_threads",
]  # fmt: skip

_ROOMS = ("insight", "models", "nn", "ops")
_NAMES = {"ShapeError": "shapes", "fuse": "fused", "set_threads": "pool"}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"minicnn.{name}")
    if name in _NAMES:
        return getattr(import_module(f"minicnn.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'minicnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
