"""The page for readers who know autograd: its code runs, and its two loops learn the same."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np
import pytest

from tests.arrays import trains
from tests.examples.lessons import EXAMPLES
from tests.pytorch import torch

PAGE = (EXAMPLES / "FROM_AUTOGRAD.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NAMES = re.findall(r"^\| `(torch\.[\w.]+)` \| `(minicnn\.[\w.]+)` \|$", PAGE, re.MULTILINE)


def named(path: str) -> Any:
    """Return what a dotted path leads to, importing modules on the way."""
    head, *rest = path.split(".")
    thing: Any = importlib.import_module(head)
    for name in rest:
        head = f"{head}.{name}"
        thing = getattr(thing, name, None) or importlib.import_module(head)
    return thing


def losses(block: str, loader: list, before: dict | None = None) -> tuple[list[float], dict]:
    """Run a loop of the page on ``loader``, from the weights ``before``; return its losses."""
    start, loop = re.split(r"\n(?=for )", block)
    loop += "    losses.append(loss.item())\n"
    names: dict[str, Any] = {"loader": loader, "losses": []}
    exec(compile(start, "FROM_AUTOGRAD.md", "exec"), names)
    if before is not None:
        names["net"].load_state_dict(before)
    state = names["net"].state_dict()
    first = {name: np.asarray(value).copy() for name, value in state.items()}
    exec(compile(loop, "FROM_AUTOGRAD.md", "exec"), names)
    return names["losses"], first


@trains
def test_both_loops_have_the_same_losses() -> None:
    rng = np.random.default_rng(0)
    batches = [
        (rng.standard_normal((16, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 16))
        for _ in range(6)
    ]
    tensors = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]
    theirs, weights = losses(BLOCKS[0], tensors)
    ours, _ = losses(BLOCKS[1], batches, weights)
    assert len(set(theirs)) == 6
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


@trains
def test_the_other_blocks_run_one_after_the_other() -> None:
    pytest.importorskip("torch")
    names: dict[str, Any] = {"loader": []}
    for block in BLOCKS[1:]:
        exec(compile(block, "FROM_AUTOGRAD.md", "exec"), names)
    assert names["logits"].shape[1] == 10
    assert np.array_equal(names["ours"].weight.data, names["theirs"].weight.detach().numpy())


@pytest.mark.parametrize("pair", NAMES, ids=lambda pair: pair[0])
def test_names_on_both_sides_exist(pair: tuple[str, str]) -> None:
    pytest.importorskip("torch")
    assert all(named(path) is not None for path in pair)


def test_every_layer_of_torchs_name_is_in_the_table() -> None:
    """A layer that is added later belongs on the page too."""
    from minicnn import nn

    ours = {"AuxiliaryHeads", "Concat", "Residual", "ZeroPadShortcut", "Module", "Param"}
    layers = {name for name in nn.__all__ if name[0].isupper()} - ours - {"StateDictError"}
    assert layers <= {path.split(".")[-1] for _, path in NAMES}
