"""The doctor's report, and the diagnosis of a torch that does not match its torchvision."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

import numba
import pytest

from minicnn import doctor
from minicnn.cli import main
from tests.arrays import whole_networks


@pytest.mark.slow
def test_the_report_tells_what_is_here(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"numba {version('numba')}" in out
    assert f"root: {tmp_path}" in out
    assert "kmnist: not here; it is downloaded when it is first needed" in out
    assert "OMP_NUM_THREADS=7" in out
    compiled = "NUMBA_DISABLE_JIT is set" if numba.config.DISABLE_JIT else "are compiled and cached"
    assert compiled in out
    if find_spec("torch"):
        pair = f"torch {version('torch')}, torchvision {version('torchvision')}: they work together"
    else:
        pair = 'torch is not installed; pip install -e ".[reference]" brings the pair'
    assert pair in out


@whole_networks
@pytest.mark.slow
def test_warm_uses_every_kernel(capsys, tmp_path):
    assert main(["doctor", "--warm", "--data-dir", str(tmp_path)]) == 0
    assert "compiling: lenet5" in capsys.readouterr().out
    kernels = doctor.kernels()
    assert len(kernels) > 50
    # What others call is compiled with them, and has a signature only where it is not cached.
    called = [kernel for kernel in kernels if not kernel.targetoptions.get("no_cpython_wrapper")]
    assert len(called) > 50
    unused = [kernel.py_func.__qualname__ for kernel in called if not kernel.signatures]
    assert unused == []


def test_a_pair_of_different_builds_is_recognised():
    stderr = "Traceback ...\nRuntimeError: operator torchvision::nms does not exist\n"
    text = doctor.explain_torch(stderr)
    assert "they are of different builds" in text
    assert "pip install --force-reinstall torch torchvision" in text


@pytest.mark.parametrize("stderr", ["ImportError: libcudart.so: cannot open", ""])
def test_any_other_failure_is_quoted(stderr):
    text = doctor.explain_torch(stderr)
    assert (stderr or "no message") in text
    assert "Reinstall both" in text


def test_a_python_that_cannot_import_the_pair_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "2.0")  # there is a pair
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/sh\necho 'operator torchvision::nms does not exist' >&2\nexit 1\n", encoding="utf-8"
    )
    fake.chmod(0o755)
    assert "they are of different builds" in doctor.torch_pair(str(fake))
