"""Names in scripts that the font of matplotlib lacks."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest

from minicnn.viz import confusion, fonts
from tests.viz.test_pictures import texts

NAMES = ("고양이", "猫", "dog")


@pytest.fixture
def installed(monkeypatch):
    """Pretend that fonts with these letters are installed beside matplotlib's own."""

    def install(**letters: str) -> None:
        own = fonts.letters_of(fonts.OWN)
        monkeypatch.setattr(fonts, "_families", lambda: tuple(letters))
        monkeypatch.setattr(
            fonts, "letters_of",
            lambda family: own if family == fonts.OWN else frozenset(letters[family]),
        )  # fmt: skip

    fonts._say.cache_clear()
    return install


def test_the_fonts_that_have_the_letters_are_found(installed):
    installed(Latin="abc", Korean="고양이가", Chinese="猫", Both="고양이猫")
    names, families = fonts.lettering(NAMES)
    assert names == list(NAMES)
    assert families == [fonts.OWN, "Korean", "Chinese"]


def test_latin_names_need_no_other_font(installed):
    installed(Korean="고양이")
    assert fonts.lettering(["école", "dog…", "two\nlines"])[1] == [fonts.OWN]


def test_without_a_font_the_classes_are_numbered_and_it_is_said_once(installed, caplog):
    installed(Korean="고양이")
    with caplog.at_level(logging.WARNING, "minicnn"):
        for _ in range(2):
            written = texts(confusion(np.eye(3, dtype=np.int64), NAMES))  # no glyph is missing
    assert {"#0", "#1", "#2", "predicted, by number"} <= set(written)
    assert len(caplog.records) == 1
    assert "so pictures number them, from #0 for 고양이" in caplog.text


@pytest.fixture
def listed(monkeypatch):
    """Let matplotlib know these fonts only, without looking for others."""
    from matplotlib import font_manager

    def use(entries: list) -> None:
        monkeypatch.setattr(font_manager, "findSystemFonts", list)
        monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
        fonts._families.cache_clear()
        fonts.letters_of.cache_clear()

    yield use
    monkeypatch.undo()
    fonts._families.cache_clear()
    fonts.letters_of.cache_clear()


def test_good_fonts_are_tried_first_and_boxes_never(listed):
    names = ["Zapf", "Noto Sans CJK KR", ".LastResort", fonts.OWN, "Arial", "Malgun Gothic", "Zapf"]
    listed([SimpleNamespace(name=name, fname=name) for name in [*names, "Last Resort High"]])
    assert fonts._families() == ("Noto Sans CJK KR", "Malgun Gothic", "Arial", "Zapf")


def test_letters_are_those_of_the_upright_font_of_normal_weight(listed):
    from matplotlib import font_manager

    own = [
        entry for entry in font_manager.fontManager.ttflist
        if entry.name == fonts.OWN and entry.fname.startswith(matplotlib.get_data_path())
    ]  # fmt: skip
    (plain,) = [entry for entry in own if entry.fname.endswith("DejaVuSans.ttf")]
    listed([plain])
    letters = fonts.letters_of(fonts.OWN)
    assert set("aé\n…") <= letters
    assert "고" not in letters
    for entries in (own, own[::-1]):
        listed(entries)
        assert fonts.letters_of(fonts.OWN) == letters
    assert fonts.letters_of("A font that is not there") == frozenset()


def test_a_font_that_cannot_be_read_has_no_letters(listed, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    for name in ("broken.ttf", "removed.ttf"):
        path = str(tmp_path / name)
        listed([SimpleNamespace(name="Bad", fname=path, style="normal", weight=400)])
        assert fonts.letters_of("Bad") == frozenset()
