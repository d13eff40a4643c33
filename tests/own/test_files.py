"""Files of networks side by side: each has the helpers of its own folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from minicnn import objects


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(objects, "_files", {})
    monkeypatch.setattr(objects, "_helpers", {})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_helpers_of_one_name_are_those_of_each_folder(tmp_path: Path) -> None:
    for folder, width in (("a", 5), ("b", 9)):
        package = tmp_path / folder / "parts_of_it"
        package.mkdir(parents=True)
        (tmp_path / folder / "lay_of_it.py").write_text(f"W = {width}\n")
        (package / "__init__.py").write_text("from parts_of_it.more import V\n")
        (package / "more.py").write_text(f"V = {-width}\n")
        (tmp_path / folder / "net.py").write_text(
            "from lay_of_it import W\nfrom parts_of_it import V\n\n\n"
            "def later():\n    import lay_of_it\n    return lay_of_it.W\n"
        )
    one, other = (objects.load_file(tmp_path / folder / "net.py") for folder in "ab")
    assert (one.W, one.V, other.W, other.V, other.later()) == (5, -5, 9, -9, 9)
    assert objects.load_file(tmp_path / "a" / "net.py") is one
    assert one.later() == 5
    (tmp_path / "b" / "net.py").write_text("from lay_of_it import W\n")
    assert objects.load_file(tmp_path / "b" / "net.py").W == 9


def test_a_file_beside_it_does_not_take_the_place_of_pythons_own(tmp_path: Path) -> None:
    import json

    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "json.py").write_text("")
        (tmp_path / folder / "net.py").write_text("import json\nnow = json\n")
        assert objects.load_file(tmp_path / folder / "net.py").now is json
