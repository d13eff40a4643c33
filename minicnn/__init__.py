"""minicnn: convolutional networks from scratch in NumPy and Numba, every gradient by hand.

``minicnn.ops`` is the arithmetic, ``minicnn.nn`` the layers, ``minicnn.models`` the networks,
``minicnn.optim`` the optimisers, ``minicnn.data`` the images, ``minicnn.train`` the loop,
``minicnn.insight`` looks into a network, and ``minicnn.fuse`` makes it faster.
"""

from minicnn import insight, models, nn, ops
from minicnn.fused import fuse
from minicnn.pool import set_threads
from minicnn.shapes import ShapeError
from minicnn.version import __version__

__all__ = ["ShapeError", "__version__", "fuse", "insight", "models", "nn", "ops", "set_threads"]
