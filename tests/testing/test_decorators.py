"""``check_op`` and ``check_layer``: they pass what is right, and reject what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from minicnn import nn, ops
from minicnn.testing import GradientError, check_layer, check_op
from minicnn.testing import strategies as mst


class Wrong(nn.Linear):
    """Right in inference, wrong in training."""

    def forward(self, x: np.ndarray, *, training: bool) -> Any:
        y, cache = super().forward(x, training=training)
        return y, (cache, training)

    def backward(self, dy: np.ndarray, cache: Any, *, input_grad: bool = True) -> Any:
        dx = super().backward(dy, cache[0], input_grad=input_grad)
        return 2 * dx if cache[1] and dx is not None else dx


rows = st.integers(1, 3).map(lambda n: np.random.default_rng(n).standard_normal((n, 4)))


def wrong() -> nn.Module:
    return Wrong(4, 2, rng=np.random.default_rng(0))


@pytest.mark.slow
@check_layer(rows, training=False)
def test_it_keeps_to_the_mode_asked_for():
    return wrong()


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, {"training": True}])
def test_a_wrong_layer_is_rejected(how: dict[str, Any]) -> None:
    with pytest.raises(GradientError, match="it is 2 times"):
        check_layer(rows, **how)(wrong)()


def test_a_wrong_operation_is_rejected() -> None:
    def pair():
        return ops.linear.forward, lambda dy, cache: tuple(
            None if g is None else 2 * g for g in ops.linear.backward(dy, cache)
        )

    with pytest.raises(GradientError, match="weight: 1 of 1 elements are wrong"):
        check_op(mst.linear())(pair)()


@check_op(mst.batch_norm(), examples=20)
def test_arrays_that_are_updated_come_with_the_call():
    return ops.batch_norm


@check_op(st.tuples(rows, st.just({"dim": 1})), options={"impl": "textbook"}, examples=5)
def test_options_that_are_drawn_and_options_that_are_given():
    return ops.softmax


@check_layer(mst.networks().map(lambda drawn: drawn[1]), examples=3)
def test_the_function_may_be_called_for_each_example():
    return nn.Sigmoid()


def test_how_many_examples() -> None:
    made = []
    check_op(rows, examples=3)(lambda: made.append(1) or ops.relu)()
    assert len(made) == 3


@pytest.mark.parametrize("decorator", [check_op, check_layer])
def test_misuse_is_told(decorator: Any) -> None:
    with pytest.raises(TypeError, match=r"Write @check_\w+\(images\(\)\)"):
        decorator(wrong)
    with pytest.raises(TypeError, match="inputs must be a strategy"):
        decorator(np.ones(3))
    with pytest.raises(TypeError, match="did you forget return"):
        decorator(rows)(lambda: None)()


PROJECT = """
import numpy as np
from minicnn import nn
from minicnn.testing import check_layer
from minicnn.testing.strategies import images

@check_layer(images(channels=2, least=3), examples=3)
def test_net():
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3, rng=rng), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
"""


@pytest.mark.slow
def test_in_a_project_of_its_own_compiling_is_no_failure(tmp_path: Path) -> None:
    """No conftest of ours turns off hypothesis' deadline there."""
    (tmp_path / "test_net.py").write_text(PROJECT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_net.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
