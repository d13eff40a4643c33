"""What is compiled is kept while the sources are the same, and compiled anew when they are not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minicnn import kernel_cache
from tests.arrays import compiled

KERNEL = """
from minicnn.backend import kernel
from minicnn.ops.probed import part

@kernel
def product(x, y):
    return part(x, y)
"""
HELPER = """
from minicnn.backend import inner

@inner
def part(x, y):
    return x * y * {factor}.0
"""
CALL = "import minicnn.ops.probe as probe; print(probe.product(3.0, 4.0))"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of minicnn with a kernel whose helper stands in another file."""
    copy = tmp_path / "minicnn"
    ignored = shutil.ignore_patterns("__pycache__", "page")
    shutil.copytree(kernel_cache.PACKAGE, copy, ignore=ignored)
    (copy / "ops/probe.py").write_text(KERNEL, encoding="utf-8")
    (copy / "ops/probed.py").write_text(HELPER.format(factor=1), encoding="utf-8")
    return copy


def run(package: Path) -> tuple[float, bool]:
    """Return what the kernel gives in a process of its own, and whether it was compiled there."""
    environment = {name: text for name, text in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", CALL], cwd=package.parent, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout), "compiling kernels" in done.stderr


@pytest.mark.slow
@compiled
def test_who_edits_a_helper_in_another_file_sees_the_edit(package: Path) -> None:
    helper = package / "ops/probed.py"
    assert run(package) == (12, True)
    os.utime(helper, (1, 1))  # a new checkout
    os.utime(package / "ops/probe.py", (1, 1))
    assert run(package) == (12, False)
    before = helper.stat()
    helper.write_text(HELPER.format(factor=2), encoding="utf-8")
    os.utime(helper, ns=(before.st_atime_ns, before.st_mtime_ns))  # neither size nor time tells
    assert run(package) == (24, True)
    (package / "viz/grid.py").write_text("# no kernels", encoding="utf-8")
    assert run(package) == (24, False)
    assert len(list((package / "ops/__pycache__").glob("probe.product*.nbc"))) == 1  # no heap


def test_processes_that_compile_at_once_do_not_mix_up_what_they_compile(tmp_path: Path) -> None:
    """Both find the cache empty, then both write; what is loaded is of the types asked for."""
    for number in range(20):
        both = threading.Barrier(2, timeout=10)

        class Slow(kernel_cache.Index):
            """Each step waits for the other's."""

            def _load_index(self, both: threading.Barrier = both) -> dict:
                found = super()._load_index()
                both.wait()
                return found

            def _save_index(self, overloads: dict, both: threading.Barrier = both) -> None:
                super()._save_index(overloads)
                both.wait()

        def save(key: str, file: kernel_cache.Index) -> None:
            file.save(key, f"code for {key}")

        name = f"kernel{number}"
        with ThreadPoolExecutor() as pool:
            list(pool.map(save, "ab", [Slow(str(tmp_path), name, "stamp") for _ in "ab"]))
        file = kernel_cache.Index(str(tmp_path), name, "stamp")
        found = {key: file.load(key) for key in "ab"}
        assert any(found.values())
        for key, code in found.items():
            assert code in (None, f"code for {key}")


class Moved:
    """A type of an argument, whose class a later version has elsewhere."""


@pytest.mark.parametrize("content", [None, b"", b"no pickle"])
def test_an_index_that_cannot_be_read_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    kernel_cache.Index(str(tmp_path), "kernel", "old").save(Moved, "old code")
    if content is not None:
        (tmp_path / "kernel.nbi").write_bytes(content)
    monkeypatch.delattr(sys.modules[__name__], "Moved")
    file = kernel_cache.Index(str(tmp_path), "kernel", "new")
    assert file.load("key") is None
    file.save("key", "new code")
    assert file.load("key") == "new code"
    assert len(list(tmp_path.glob("kernel.*.nbc"))) == 1  # the old code is gone


def test_code_of_another_numba_is_replaced(tmp_path: Path) -> None:
    old = kernel_cache.Index(str(tmp_path), "kernel", "stamp")
    old._version = "0.0.1"
    old.save("key", "old")
    new = kernel_cache.Index(str(tmp_path), "kernel", "stamp")
    assert new.load("key") is None
    new.save("key", "new")
    assert new.load("key") == "new"
    assert len(list(tmp_path.glob("*.nbc"))) == 1


def test_code_of_a_file_that_is_edited_meanwhile_is_not_kept(tmp_path: Path, monkeypatch) -> None:
    """It may be of the new text, and would come back when the edit is taken back."""
    file = kernel_cache.Index(str(tmp_path), "kernel", kernel_cache.sources())
    file.save("before", "code")
    edited = tmp_path / "package"
    shutil.copytree(kernel_cache.PACKAGE / "optim", edited / "optim")
    monkeypatch.setattr(kernel_cache, "PACKAGE", edited)
    file.save("after", "code")
    assert (file.load("before"), file.load("after")) == ("code", None)


@pytest.mark.slow
@compiled
def test_a_kernel_that_is_typed_in_is_compiled_without_a_cache() -> None:
    code = "from minicnn.backend import kernel\n@kernel\ndef f(x): return x + 1\nprint(f(1.0))\n"
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("2.0\n", 0), done.stderr
    assert "cannot be written" not in done.stderr


def test_every_file_with_a_kernel_counts() -> None:
    """One in a room that nobody looks into would keep its old code after an edit."""
    makes = re.compile(
        rb"^\s*@(backend\.)?(kernel|inner|task|shared|intrinsic|numba\.njit)\b", re.MULTILINE
    )
    rooms = {path for room in kernel_cache.ROOMS for path in kernel_cache.PACKAGE.glob(room)}
    found = [path for path in kernel_cache.PACKAGE.rglob("*.py") if makes.search(path.read_bytes())]
    assert len(found) > 20
    for path in found:
        assert path in rooms, path
        assert any(word in path.read_bytes() for word in kernel_cache.COMPILES), path
