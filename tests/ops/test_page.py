"""The index of operations says what the modules say."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from minicnn import ops
from minicnn.ops import conv2d, dropout, relu
from tests.ops.page import PAGE, gradients, page, signature, textbook, textbook_file

MODULES = [getattr(ops, name) for name in ops.__all__]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "stale; write it anew by: python -m tests.ops.page"
    )


def test_its_links_lead_to_files_and_sections() -> None:
    text = PAGE.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) >= 2 * len(MODULES)
    for target in links:
        if target.startswith("#"):
            assert f"\n## {target[1:]}\n" in text
        else:
            assert (PAGE.parent / target).is_file(), target


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_operation_says_what_a_student_came_for(module: ModuleType) -> None:
    heads = re.findall(r"^[A-Z]\w+$", str(module.__doc__), re.MULTILINE)
    order = ["Shapes", "Derivation", "Implementations", "Conventions", "Source"]
    assert heads[:2] == order[:2]
    assert heads == [head for head in order if head in heads]
    code = textbook(textbook_file(module))
    assert code
    compile(re.sub(r"\breturn\b", "_ =", code), "textbook", "exec")  # whole statements


def test_pieces_of_the_page() -> None:
    assert signature(conv2d.forward) == (
        "(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)"
    )
    assert signature(dropout.forward).startswith("(x, p=0.5, training=True, *, rng")
    assert gradients(conv2d) == "`(dx, dweight, dbias)`"
    assert textbook(textbook_file(relu)) == (
        "# forward\ny = np.asarray(np.maximum(x, 0))\n\n"
        "# backward\nreturn np.where(y <= 0, y.dtype.type(0), dy)"
    )


def test_a_backward_that_does_not_say_what_it_returns_is_named() -> None:
    module = ModuleType("nameless")
    module.backward = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"^nameless\.backward: the docstring must begin with"):
        gradients(module)
