"""The command ``python -m reference.data``: split, stats, report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from minicnn.commands.options import add_data_dir, path_option
from minicnn.data import DataError, whole_name
from minicnn.data.class_folders import Passed
from minicnn.files import expanded
from reference.data.examine import examine
from reference.data.files import counts, list_all
from reference.data.parts import load
from reference.data.split import in_english, split


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except (DataError, ValueError, OSError) as error:
        print(f"reference.data {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"reference.data {args.command}: stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reference.data",
        description="Tools for folders of images.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Examples:\n"
        "  python -m reference.data split raw-img animals --test 0.2    links, in a new folder\n"
        "  python -m reference.data split raw-img animals.csv           a manifest\n"
        "  python -m reference.data report animals\n"
        "  python -m reference.data stats animals",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = "divide class folders into train and test, by links or a manifest; the source stays"
    dividing = commands.add_parser("split", help=about, description=about)
    dividing.add_argument("source", type=path_option, metavar="SRC", help="folder of class folders")
    dividing.add_argument(
        "target",
        type=path_option,
        metavar="DST",
        help="a new folder for links, or a manifest (.csv)",
    )
    dividing.add_argument("--test", type=float, default=0.2, help="part for testing (0.2)")
    dividing.add_argument("--seed", type=int, default=0, help="of the choice (0)")
    dividing.set_defaults(run=_split)

    about = "mean and standard deviation of the training images, exact over all pixels"
    stats = commands.add_parser("stats", help=about, description=about)
    stats.add_argument("data", metavar="DATA", help="mnist, ..., a folder, or a manifest (.csv)")
    add_data_dir(stats)
    stats.add_argument("--channels", type=int, choices=(1, 3), default=3, help="of files (3)")
    stats.add_argument("--validation", type=float, help="part set apart from training (1/12)")
    stats.set_defaults(run=_stats)

    about = "images of each class, and which cannot be read"
    report = commands.add_parser("report", help=about, description=about)
    report.add_argument(
        "path", type=path_option, metavar="PATH", help="a folder, or a manifest (.csv)"
    )
    report.set_defaults(run=_report)
    return parser


def _split(args: argparse.Namespace) -> None:
    parts, skipped = split(args.source, args.target, args.test, args.seed)
    for text in skipped:
        print(f"left out: {text}")
    _print_passed_over(list_all(f"imagefolder:{args.source}", args.source)[1])
    train, test = (counts(files) for files in parts.values())
    _print_table(parts["train"].classes, {"train": train, "test": test})
    print(f"{args.target}: to train on it, use --data imagefolder:{args.target}")


def _stats(args: argparse.Namespace) -> None:
    name, path = args.data, expanded(args.data)
    if path.exists():
        name = f"imagefolder:{path}"
    parts = load(
        whole_name(name), args.data_dir, channels=args.channels, crop=1, validation=args.validation
    )
    for text in parts.skipped:
        print(f"left out: {text}")
    mean, std = (", ".join(f"{v:.6f}" for v in values) for values in parts.normalization)
    print(
        f"{name}: {len(parts.train):,} images to train ({len(parts.validation):,} set apart for "
        f"validation)\nmean {mean}\nstd  {std}"
    )


def _report(args: argparse.Namespace) -> None:
    name = f"imagefolder:{args.path}"
    parts, passed = list_all(name, args.path)
    table, bad = {}, 0
    for part, files in parts.items():
        unreadable = examine(name, files.paths, 3).unreadable
        readable = files.at(i for i in range(len(files.paths)) if i not in unreadable)
        table[part] = counts(readable)
        for text in unreadable.values():
            print(f"unreadable: {text}")
        bad += len(unreadable)
    _print_passed_over(passed)
    classes = parts["train"].classes
    _print_table(classes, table)
    total = sum(sum(column) for column in table.values())
    print(f"{args.path}: {total:,} images of {len(classes)} classes; {bad:,} cannot be read")
    if in_english(classes) != classes:
        print("the names are those of Animals-10 in Italian; split translates them")


def _print_passed_over(passed: Passed) -> None:
    if str(passed):
        print(passed)


def _print_table(classes: Sequence[str], columns: dict[str, Sequence[int]]) -> None:
    width = max(len("class"), *map(len, classes))
    print("  ".join([f"{'class':<{width}}", *(f"{part:>10}" for part in columns)]))
    for label, of_class in enumerate(classes):
        numbers = (f"{column[label]:>10,}" for column in columns.values())
        print("  ".join([f"{of_class:<{width}}", *numbers]))
