"""How far a reader has to walk: NUMBA_DISABLE_JIT=1 python -m tests.kernels.trace [PASS ...]

Runs a pass with its kernels as Python, and follows it as a reader does who reads every function
once, when it is first called. Prints how many files the pass meets, how often the next function
stands in another file than the one before, and the longest list of parameters on the way. If a pass
is named, its functions are listed in the order of the walk.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numba
import numpy as np

import minicnn
from minicnn import fused, nn
from minicnn.ops import conv2d

PACKAGE = Path(minicnn.__file__).parent
PASSES: dict[str, Callable[[], tuple[Callable, Callable]]] = {}


class Walk(NamedTuple):
    """The functions that a reader meets, in the order in which they are first called."""

    functions: list[CodeType]

    def files(self) -> list[str]:
        return list(dict.fromkeys(map(file_of, self.functions)))

    def changes(self) -> int:
        """Return how often the next function stands in another file."""
        places = list(map(file_of, self.functions))
        return sum(one != other for one, other in itertools.pairwise(places))

    def longest(self) -> CodeType:
        """Return the function with the most parameters."""
        return max(self.functions, key=parameters)


def file_of(function: CodeType) -> str:
    return Path(function.co_filename).relative_to(PACKAGE).as_posix()


def parameters(function: CodeType) -> int:
    return function.co_argcount + function.co_kwonlyargcount


def walk(run: Callable[[], Any]) -> Walk:
    """Follow ``run`` through the functions of minicnn."""
    functions: dict[CodeType, None] = {}

    def follow(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        ours = event == "call" and code.co_filename.startswith(str(PACKAGE))
        if ours and not code.co_name.startswith("<"):  # expressions stand in their function
            functions[code] = None

    before = sys.getprofile()
    sys.setprofile(follow)
    try:
        run()
    finally:
        sys.setprofile(before)
    return Walk(list(functions))


def a_pass(make: Callable[[], tuple[Callable, Callable]]) -> Callable:
    PASSES[make.__name__] = make
    return make


def _convolution(impl: str) -> tuple[Callable, Callable]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    w = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    kept: dict[str, Any] = {}

    def forward() -> None:
        kept["y"], kept["cache"] = conv2d.forward(x, w, None, padding=1, impl=impl)

    return forward, lambda: conv2d.backward(np.ones_like(kept["y"]), kept["cache"], impl=impl)


@a_pass
def textbook() -> tuple[Callable, Callable]:
    return _convolution("textbook")


@a_pass
def direct() -> tuple[Callable, Callable]:
    return _convolution("direct")


@a_pass
def winograd() -> tuple[Callable, Callable]:
    return _convolution("winograd")


@a_pass
def block() -> tuple[Callable, Callable]:
    """A residual block of ResNet, fused, in training."""
    lanes = 16
    rng = np.random.default_rng(0)
    conv, norm = nn.Conv2d, nn.BatchNorm2d
    main = nn.Sequential(
        conv(lanes, lanes, 3, padding=1, bias=False, rng=rng), norm(lanes), nn.ReLU(),
        conv(lanes, lanes, 3, padding=1, bias=False, rng=rng), norm(lanes),
    )  # fmt: skip
    model = fused.fuse(nn.Residual(main, nn.Sequential(), nn.ReLU()))
    x = rng.standard_normal((2, lanes, 32, 32)).astype(np.float32)
    kept: dict[str, Any] = {}

    def forward() -> None:
        kept["y"], kept["cache"] = model.forward(x, training=True)

    return forward, lambda: model.backward(np.ones_like(kept["y"]), kept["cache"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kernels.trace", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("passes", nargs="*", choices=[[], *PASSES], help=", ".join(PASSES))
    chosen = parser.parse_args().passes
    if not numba.config.DISABLE_JIT:
        parser.error("compiled kernels cannot be followed. Set NUMBA_DISABLE_JIT=1.")
    for name in chosen or PASSES:
        for which, run in zip(("forward", "backward"), PASSES[name](), strict=True):
            found = walk(run)
            longest = found.longest()
            print(
                f"{name} {which}: {len(found.files())} files, {found.changes()} changes; "
                f"{parameters(longest)} parameters in {longest.co_qualname}"
            )
            for function in found.functions if chosen else []:
                print(f"  {file_of(function)}:{function.co_firstlineno} {function.co_qualname}")


if __name__ == "__main__":
    main()
