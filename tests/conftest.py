"""What holds for every test: how many examples, which oracle, and annotations that are enforced.

HYPOTHESIS_PROFILE chooses ``dev`` (few examples, other ones each time), ``ci`` (the same ones each
time; the default where CI is set), ``brief`` (few, for slow ways to run) or ``thorough``.

The whole suite runs in several processes, a part of it that is named on the command line in one;
``-n`` says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numba
import pytest
from hypothesis import settings

from minicnn.data import mnist
from tests import annotations
from tests.pytorch import MISSING, reason

try:
    from tests import oracle
except ModuleNotFoundError as error:
    if error.name not in MISSING:
        raise
    oracle = None  # type: ignore[assignment]

# No deadlines: the first call of a kernel compiles it.
settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=25, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("brief", max_examples=10, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=1000, deadline=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
settings.load_profile(PROFILE)


MOST_PROCESSES = 4  # each holds PyTorch and what the tests fill: a gigabyte


def pytest_configure(config: pytest.Config) -> None:
    if oracle:
        oracle.prepare()
    annotations.enforce()
    if hasattr(config, "workerinput"):  # one of several processes, each of which has one core
        numba.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return 0, which is no process but this one, where only a part of the tests is asked for."""
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MOST_PROCESSES) if whole and cores != 1 else 0


def pytest_report_header() -> list[str]:
    answers = oracle.description() if oracle else "none: torch is not installed"
    return [f"oracle: {answers}", f"hypothesis examples: {PROFILE}"]


class Module(pytest.Module):
    """A file of tests; it is skipped where it imports torch and there is none."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as error:
            missing = getattr(error.__cause__, "name", None)
            if missing not in MISSING:
                raise
            why = reason(self.path.name, missing)
            raise pytest.skip.Exception(why, allow_module_level=True) from error


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    return Module.from_parent(parent, path=module_path)


@pytest.fixture
def real_mnist() -> Path:
    """The data root with the real MNIST; skips where it is not."""
    root = Path(os.environ.get("MINICNN_DATA", ""))
    for file in mnist.FILES:
        if not (root / "MNIST" / "raw" / file).is_file():
            pytest.skip(f"needs {root / 'MNIST' / 'raw' / file}; set MINICNN_DATA")
    return root
