"""Ways in which a file is damaged."""

from __future__ import annotations

import json
import random
from typing import Any


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return ``content`` damaged in one of several ways."""
    ways = [flipped, flipped, flipped, cut, zeroed, doubled, inserted, overwritten]
    if content[:1] == b"{" and content.rstrip()[-1:] == b"}":
        ways += [edited] * 8
    return draw.choice(ways)(content, draw)


def flipped(content: bytes, draw: random.Random) -> bytes:
    """One bit is another: half of the time among the first bytes, where headers are."""
    place = draw.randrange(min(len(content), 400) if draw.random() < 0.5 else len(content))
    changed = bytearray(content)
    changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def zeroed(content: bytes, draw: random.Random) -> bytes:
    """A block is zeros, as after a lost sector."""
    start = draw.randrange(len(content))
    size = min(draw.choice([1, 64, 512, 4096]), len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def doubled(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + content[start:] * 2


def inserted(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + draw.randbytes(draw.choice([1, 7, 100])) + content[start:]


def overwritten(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    rubbish = draw.randbytes(draw.choice([1, 4, 64]))
    return content[:start] + rubbish + content[start + len(rubbish) :]


VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 10**30, 1e300, 0.5, float("nan"), "", "x", "\ud800", [], [[]], {},
    {"a": 1}, "[" * 50, [1] * 100,
]  # fmt: skip


def edited(content: bytes, draw: random.Random) -> bytes:
    """A value of JSON is another, or a key is missing or new; the checksum is taken away.

    So it is with a file of before there were checksums, or of somebody who has edited it.
    """
    try:
        whole = json.loads(content)
    except ValueError:
        return flipped(content, draw)
    whole.pop("sha256", None)
    _edit(whole, draw)
    return json.dumps(whole).encode()


def edited_note(note: Any, draw: random.Random) -> Any:
    """The same of the note of a checkpoint."""
    whole = json.loads(json.dumps(note))
    _edit(whole, draw)
    return whole


def _edit(whole: Any, draw: random.Random) -> None:
    places = list(_places(whole))
    holder, key = draw.choice(places)
    way = draw.randrange(4)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    else:
        holder[key] = draw.choice(VALUES)


def _places(value: Any) -> Any:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(inside):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
