"""Letters for names in any script: an installed font that has them, or numbers instead.

matplotlib draws a letter from the first font of a list that has it. DejaVu Sans, which comes with
matplotlib, lacks the scripts of Korea, Japan and China, among others; a box would be drawn and a
warning given for every such letter.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

OWN = "DejaVu Sans"
BOXES = ("Last Resort", ".LastResort", "Adobe Blank")  # have every letter, as a box or as nothing
_PLAIN = ("400", "normal", "regular", "book")  # weights
# Tried first, by their quality for these scripts; others follow by their names.
GOOD = (
    "Noto Sans CJK", "Source Han Sans", "NanumGothic", "Malgun Gothic", "Apple SD Gothic",
    "Hiragino", "Yu Gothic", "PingFang", "Microsoft YaHei", "WenQuanYi", "Noto Sans",
)  # fmt: skip


def lettering(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names as they can be drawn, and the families of fonts to draw them with.

    Where the installed fonts lack a letter, the names become their numbers, "#1" for the second,
    and one line, logged once for these names, says so.
    """
    missing = set("".join(names)) - letters_of(OWN)
    families = [OWN]
    for family in _families() if missing else ():
        found = missing & letters_of(family)
        if found:
            families.append(family)
            missing -= found
        if not missing:
            break
    if not missing:
        return list(names), families
    _say(tuple(names))
    return [f"#{i}" for i in range(len(names))], [OWN]


@cache
def _say(names: tuple[str, ...]) -> None:
    logging.getLogger("minicnn").warning(
        "no installed font has the letters of these names, so pictures number them, from #0 for "
        "%s. Install a font that has them, for example Noto Sans CJK.",
        names[0],
    )


@cache
def _families() -> tuple[str, ...]:
    """Return the families of the installed fonts, the good ones first.

    matplotlib keeps a list of fonts from its first use; those installed since are added to it.
    """
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in known:
            with suppress(OSError, RuntimeError, ValueError):  # in a form that is not read
                fontManager.addfont(path)

    def rank(family: str) -> tuple[int, str]:
        place = next((i for i, good in enumerate(GOOD) if family.startswith(good)), len(GOOD))
        return place, family

    names = {entry.name for entry in fontManager.ttflist}
    return tuple(sorted((n for n in names - {OWN} if not n.startswith(BOXES)), key=rank))


@cache
def letters_of(family: str) -> frozenset[str]:
    """Return all letters that a family has, in its font of upright letters of normal weight."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    entries = [entry for entry in fontManager.ttflist if entry.name == family]
    if not entries:
        return frozenset()
    plain = min(
        entries, key=lambda entry: (entry.style != "normal", str(entry.weight) not in _PLAIN)
    )
    try:
        return frozenset(map(chr, FT2Font(plain.fname).get_charmap())) | {"\n"}
    except (OSError, RuntimeError, ValueError):  # removed since, or in a form that is not read
        return frozenset()
