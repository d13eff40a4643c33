"""Pickles as Python 2 wrote them, in which CIFAR-10 is published; made of their opcodes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def text(value: bytes) -> bytes:
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value
    return b"T" + len(value).to_bytes(4, "little") + value


def number(value: int) -> bytes:
    return b"J" + int(value).to_bytes(4, "little", signed=True)


def numbers(values: Iterable[int]) -> bytes:
    return b"](" + b"".join(map(number, values)) + b"e"


def array(values: np.ndarray, kind: bytes = b"u1", call: bytes = b"_reconstruct") -> bytes:
    fortran = values.flags.f_contiguous and not values.flags.c_contiguous
    shape = b"(" + b"".join(map(number, values.shape)) + b"t"
    dtype = b"cnumpy\ndtype\n" + text(kind) + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNN" + number(-1) + number(-1) + b"K\x00tb"
    content = text(values.tobytes(order="F" if fortran else "C"))
    return (
        b"cnumpy.core.multiarray\n" + call + b"\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01" + shape + dtype + (b"\x88" if fortran else b"\x89") + content + b"tb"
    )  # fmt: skip


def dictionary(**entries: bytes) -> bytes:
    """The pickle of a dictionary, of values in opcodes."""
    parts = [text(key.encode()) + value for key, value in entries.items()]
    return b"\x80\x02}(" + b"".join(parts) + b"u."


def nested(depth: int) -> bytes:
    """A list in a list in a list ..."""
    return b"]" * depth + b"a" * (depth - 1)
