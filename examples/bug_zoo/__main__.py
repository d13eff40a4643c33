"""The bug zoo: classic mistakes of hand-written backprop, and how each is caught.

    python -m examples.bug_zoo                all of them
    python -m examples.bug_zoo "ties shared"  one, with the whole report

For each animal, hypothesis draws up to 200 cases and the gradient checker judges them. The smallest
case that it rejects is shown. --page FILE writes everything as a page of Markdown.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import numpy as np

from examples.bug_zoo import ANIMALS
from examples.bug_zoo.animal import Animal, Catch, catch


def case(caught: Catch) -> str:
    """Return the counterexample as Python would write it."""
    lines = []
    for name, array in caught.named():
        lines.append(f"{name} = {np.array(array).tolist()}")
    options = [f"{k}={v!r}" for k, v in caught.options.items() if k != "rng"]
    return "\n".join([*lines, ", ".join(options)] if options else lines)


def described(animal: Animal, caught: Catch, whole: bool = False) -> str:
    """Return the animal, its counterexample and what the checker says, for the terminal."""
    said = str(caught.report) if whole else str(caught.fault)
    why = textwrap.fill(animal.why, 88)
    parts = [why, textwrap.indent(case(caught), "  "), textwrap.indent(said, "  ")]
    return "\n\n".join([f"{animal.name}\n{'-' * len(animal.name)}\n{parts[0]}", *parts[1:], ""])


def page(catches: dict[str, Catch]) -> str:
    """Return all of it as Markdown."""
    parts = [
        "# The bug zoo\n\nClassic mistakes of hand-written backprop. The file named has each "
        "beside the right code. Each entry gives the reason for the mistake, the smallest case "
        "that hypothesis finds, and the words of the gradient checker. Written by "
        "`python -m examples.bug_zoo --page FILE`."
    ]
    for name, caught in catches.items():
        animal, fault = ANIMALS[name], caught.fault
        file = f"{animal.house}.py"
        cause = f"\n\n> Likely cause: {fault.cause}" if fault.cause else ""
        parts.append(
            f"## {name[0].upper() + name[1:]}\n\n[{file}]({file}). {animal.why}\n\n"
            f"```\n{case(caught)}\n```\n\n> {fault.what}: {fault.text}{cause}"
        )
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.bug_zoo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("animal", nargs="?", choices=list(ANIMALS), metavar="ANIMAL")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page of Markdown")
    args = parser.parse_args()
    names = [args.animal] if args.animal else list(ANIMALS)
    catches = {}
    for name in names:
        caught = catch(ANIMALS[name])
        if caught is None:
            print(f"{name}: NOT CAUGHT\n")
        else:
            catches[name] = caught
            print(described(ANIMALS[name], caught, whole=bool(args.animal)))
    print(f"{len(names)} animals, {len(names) - len(catches)} not caught")
    if args.page:
        args.page.write_text(page(catches), encoding="utf-8")
    return 0 if len(catches) == len(names) else 1


if __name__ == "__main__":
    raise SystemExit(main())
