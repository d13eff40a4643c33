"""The bug zoo: classic mistakes of hand-written backprop, and how each is caught.

    python -m examples.bug_zoo               all of them
    python -m examples.bug_zoo "ties shared"  one, with the whole report

For each animal hypothesis draws up to 200 cases, the gradient checker judges them, and the smallest
case that it objects to is shown.
"""

from __future__ import annotations

import argparse
import textwrap

import numpy as np

from examples.bug_zoo import ANIMALS
from examples.bug_zoo.animal import Animal, Catch, catch


def described(animal: Animal, caught: Catch, whole: bool) -> str:
    """Return the animal, its counterexample and what the checker says, as text."""
    lines = [animal.name, "-" * len(animal.name), textwrap.fill(animal.why, 88), ""]
    names = caught.report.subject.partition("(")[2].split()[::2]
    for name, array in zip(names, [a for a in caught.arrays if a is not None], strict=False):
        text = np.array2string(array, separator=", ", precision=3)
        lines.append(f"  {name} = " + textwrap.indent(text, " " * (len(name) + 5)).lstrip())
    if caught.options:
        shown = [f"{k}={v!r}" for k, v in caught.options.items() if k != "rng"]
        lines.append("  " + ", ".join(shown))
    fault = str(caught.report) if whole else str(caught.report.faults[0])
    return "\n".join([*lines, "", textwrap.indent(fault, "  "), ""])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.bug_zoo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("animal", nargs="?", choices=list(ANIMALS), metavar="ANIMAL")
    args = parser.parse_args()
    escaped = 0
    for animal in [ANIMALS[args.animal]] if args.animal else ANIMALS.values():
        caught = catch(animal)
        if caught is None:
            escaped += 1
            print(f"{animal.name}: NOT CAUGHT\n")
        else:
            print(described(animal, caught, whole=bool(args.animal)))
    print(f"{len(ANIMALS) if not args.animal else 1} animals, {escaped} not caught")
    return 1 if escaped else 0


if __name__ == "__main__":
    raise SystemExit(main())
