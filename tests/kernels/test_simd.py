"""Vectors are as wide as the registers of the processor that Numba compiles for."""

from __future__ import annotations

import platform

import numba
import pytest

from minicnn.kernels import simd

x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="these are names of x86"
)


@x86
@pytest.mark.parametrize(
    ("name", "features", "width"),
    [
        ("haswell", None, 32),
        ("skylake-avx512", None, 64),
        ("ivybridge", None, 16),
        ("generic", "", 16),
        ("skylake-avx512", "-avx512f", 32),
        ("generic", "+avx2,+fma", 32),
    ],
)
def test_the_width_is_that_of_the_processor_that_numba_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, features: str | None, width: int
) -> None:
    monkeypatch.setattr(numba.config, "CPU_NAME", name)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", features)
    assert simd._vector_bytes() == width
