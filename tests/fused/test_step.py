"""What a training step costs, in what every machine counts alike: compilations and memory.

Times are measured by ``python -m reference.bench``: a machine decides them, and no test does.
"""

from __future__ import annotations

import tracemalloc

import numba
import numpy as np
import pytest
from numba.core import event

from minicnn import models, nn
from minicnn.fused import fuse
from tests.arrays import compiled, trains

BATCH = 8
each = pytest.mark.parametrize("name", ["lenet5", "cnn3", "resnet20"])


class Training:
    """A network, and images of its size to train it with."""

    def __init__(self, name: str) -> None:
        self.model = models.create(name, 10, rng=np.random.default_rng(0))
        self.network = fuse(self.model)
        shape = (BATCH, *models.MODELS[name].image)
        self.x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        self.loss = nn.CrossEntropyLoss()

    def step(self) -> None:
        logits, cache = self.network.forward(self.x, training=True)
        _, loss_cache = self.loss.forward(logits, np.arange(BATCH) % 10)
        self.network.backward(self.loss.backward(1.0, loss_cache), cache, input_grad=False)

    def peak(self) -> int:
        """Return the bytes of arrays that a step holds at once."""
        tracemalloc.start()
        try:
            self.step()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


class Compilations(event.Listener):
    """Names every kernel that is compiled, or loaded from the disk, while it listens."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, event: event.Event) -> None:
        self.names.append(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event: event.Event) -> None:
        pass


@compiled
@each
def test_only_the_first_step_compiles(name: str) -> None:
    training = Training(name)
    training.step()
    with event.install_listener("numba:compile", heard := Compilations()):
        training.step()
    assert heard.names == []


@compiled
def test_what_is_compiled_is_heard() -> None:
    with event.install_listener("numba:compile", heard := Compilations()):
        numba.njit(abs_of := lambda x: abs(x))(1.0)
    assert heard.names == [abs_of.__name__]


@trains
@each
def test_a_step_holds_less_than_layer_by_layer_and_far_less_than_the_textbook(name: str) -> None:
    """The textbook lays out every window of a convolution as a column: im2col."""
    training = Training(name)
    held = {}
    for way in ("fused", "by layer", "textbook"):
        if way != "fused":
            training.network = training.model
        training.network.set_impl("textbook" if way == "textbook" else "fast")
        training.step()  # the first one makes arrays that stay
        held[way] = training.peak()
    assert held["fused"] < held["by layer"] < held["textbook"]
    assert held["fused"] < 0.7 * held["textbook"]
