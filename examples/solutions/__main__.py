"""``python -m examples.solutions``: list the exercises; show and run a solution."""

from __future__ import annotations

import argparse
import inspect
import sys
import textwrap

from examples import solutions


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.solutions",
        description="Exercises of the course, and the solutions of those that are named.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="LESSON[.EXERCISE]",
        help="5 lists the exercises of lesson 5; 5.2 shows and runs the solution of the second",
    )  # fmt: skip
    names = parser.parse_args(arguments).names
    if not names:
        parser.print_usage()
        for number, lesson in enumerate(solutions.LESSONS, 1):
            count = len(solutions.exercises(number))
            print(f"{number:3}  {count} exercises  {lesson.name}")
    for name in names:
        lesson, _, exercise = name.partition(".")
        known = range(1, len(solutions.LESSONS) + 1)
        if not lesson.isdecimal() or int(lesson) not in known:
            parser.error(f"LESSON must be a number from 1 to {known[-1]}, got {name!r}.")
        number, asked = int(lesson), solutions.asked(int(lesson))
        if not exercise:
            for i, text in asked.items():
                print(textwrap.indent(f"{number}.{i}  {text}\n", "  "))
            print(f"A solution: python -m examples.solutions {number}.1")
            continue
        found = solutions.exercises(number)
        if not exercise.isdecimal() or int(exercise) not in found:
            parser.error(f"lesson {number} has the exercises {', '.join(map(str, found))}.")
        solution = found[int(exercise)]
        print(f"{asked[int(exercise)]}\n\n{inspect.getdoc(solution)}\n")
        print(inspect.getsource(solution))
        sys.stdout.flush()
        solution()
    return 0


if __name__ == "__main__":
    sys.exit(main())
