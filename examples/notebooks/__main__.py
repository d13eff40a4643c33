"""``python -m examples.notebooks DIR``: write the lessons as notebooks, and run them if asked."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

from examples import notebooks


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.notebooks",
        description="Write the lessons as notebooks for Jupyter, VS Code and Colab.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to write the notebooks")
    parser.add_argument(
        "lessons", nargs="*", metavar="LESSON", help="numbers of lessons, such as 1 5; default: all"
    )
    parser.add_argument(
        "--run", action="store_true", help="execute them, so that they hold text and pictures"
    )
    parser.add_argument(
        "--quick", action="store_true", help="with --run: as short as the lessons' own --quick"
    )
    options = parser.parse_args(arguments)
    missing = [name for name in notebooks.NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f'{", ".join(missing)} missing. Use: pip install -e ".[notebooks]"')
    if options.quick and not options.run:
        parser.error("--quick shortens the run: give it together with --run.")
    numbers = {int(lesson.name[:2]): lesson for lesson in notebooks.LESSONS}
    try:
        chosen = [numbers[int(number)] for number in options.lessons] or list(numbers.values())
    except (KeyError, ValueError):
        parser.error(f"LESSON must be a number from 1 to {max(numbers)}, got {options.lessons}.")

    import nbformat
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    total, faults = 0, 0
    for lesson in chosen:
        notebook = notebooks.make(lesson)
        path = options.folder / f"{lesson.stem}.ipynb"
        note = ""
        if options.run:
            begin = time.perf_counter()
            environment = {"COURSE_QUICK": "1"} if options.quick else {}
            try:
                notebooks.execute(notebook, options.folder, environment)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                faults += 1
                print(f"{lesson.name} stopped:\n{error}", file=sys.stderr)
            count, failed = notebooks.pictures(notebook), notebooks.failed_claims(notebook)
            total += count
            faults += len(failed) + (count == 0)
            note = f"  {count} pictures, {time.perf_counter() - begin:.0f} s"
            for line in failed:
                print(f"{lesson.name}: {line}", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        print(f"{path}{note}", flush=True)
    if options.run:
        print(f"{len(chosen)} notebooks, {total} pictures, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
