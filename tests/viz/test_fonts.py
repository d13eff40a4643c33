"""Names in scripts that the font of matplotlib lacks."""

from __future__ import annotations

import logging

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
