"""The command ``python -m reference.train``: its options, and what it prints.

What can be foreseen to go wrong ends with one line on stderr and exit code 2; Ctrl-C with 130.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from minicnn import checkpoint
from minicnn.checkpoint import CheckpointError
from minicnn.cli import open_streams
from minicnn.commands.options import (
    Help,
    add_data_dir,
    add_plan_options,
    add_zip_encoding,
    path_option,
)
from minicnn.data import DataError, whole_name
from minicnn.evaluation import TOP_K
from minicnn.files import expanded
from minicnn.interruption import Interrupted, hear_interrupts
from minicnn.run_folder import TrainError, folder_name, make
from minicnn.shapes import integer
from minicnn.train import epoch_line
from reference.presets import HEADS, MANNER, PRECISIONS, PRESETS, Recipe, recipe_for
from reference.train import loop, state
from reference.train.config import read_config
from reference.train.log import Log
from reference.train.loop import Step
from reference.train.machine import DEVICES, Machine, join, leave, may_restart
from reference.train.run import Run

PROGRAM = "python -m reference.train"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; a failed process of several ends at once."""
    open_streams()
    hear_interrupts()
    args = _parser().parse_args(argv)
    try:
        with join(args.device) as machine:
            _train(args, machine)
    except (CheckpointError, DataError, TrainError, ValueError, OSError, MemoryError) as error:
        print(f"reference.train: {_of_worker(str(error))}", file=sys.stderr)
        return leave(2)
    except Interrupted as error:
        print(f"reference.train: {error}", file=sys.stderr)
        return leave(130)
    except KeyboardInterrupt:
        print("reference.train: stopped", file=sys.stderr)
        return leave(130)
    return 0


def _of_worker(message: str) -> str:
    """Return the message alone of an error that a worker passes on with its traceback."""
    if not message.startswith("Caught "):
        return message
    return message.strip().rpartition("DataError: ")[2]


# ---------------------------------------------------------------------------------------- options


class _Help(Help, argparse.RawDescriptionHelpFormatter):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong once, and not in each process of torchrun."""
        if os.environ.get("RANK", "0") != "0":
            sys.exit(2)
        super().error(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Train a network with PyTorch and leave a folder as minicnn does.",
        formatter_class=_Help,
        epilog="Options that are not given come from the preset (reference/presets.py). A network "
        "without\none has the defaults in brackets, and "
        f"{Recipe.epochs} epochs, batches of {Recipe.batch_size}, {Recipe.optimizer} at "
        f"{Recipe.lr:g}, {Recipe.schedule}.\n"
        "Under torchrun the run is spread over all its processes; torchrun's own options "
        "stand before -m.\n\n"
        "Examples:\n"
        f"  {PROGRAM} lenet5-mnist\n"
        f"  {PROGRAM} resnet18-animals10 --data imagefolder:animals --epochs 10\n"
        f"  {PROGRAM} resnet18 --data imagefolder:animals \\\n"
        "      --weights IMAGENET1K_V1 --freeze features --head linear\n"
        f"  {PROGRAM} --resume runs/lenet5-mnist-reference",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL",
        help=f"a preset ({', '.join(PRESETS)}), or a network of minicnn's or torchvision's",
    )  # fmt: skip
    parser.add_argument(
        "--data", metavar="NAME",
        help="mnist, fashion-mnist, kmnist, cifar10, digits, or imagefolder:PATH of a folder, zip "
        "or manifest",
    )  # fmt: skip
    add_data_dir(parser)
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--out", type=path_option, metavar="RUN", help="a new folder (else under runs/)"
    )
    run.add_argument(
        "--resume", type=path_option, metavar="RUN", help="go on with this run instead"
    )
    run.add_argument(
        "--continue", action="store_true", dest="go_on",
        help="go on with the run in --out if there is one, as after a restart of torchrun",
    )  # fmt: skip
    run.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to compute; auto: on a GPU if any"
    )
    run.add_argument(
        "--workers", type=int, metavar="N",
        help="processes that read images ahead (one a core, at most 8, if images are moved)",
    )  # fmt: skip
    run.add_argument(
        "--save-every", type=int, default=1000, metavar="STEPS",
        help="checkpoint after so many steps, and after each epoch",
    )  # fmt: skip
    run.add_argument("--log-steps", action="store_true", help="write steps.csv, a line a step")
    run.add_argument("--tensorboard", action="store_true", help="log for TensorBoard too")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    add_plan_options(parser.add_argument_group("the recipe"))
    _add_recipe_options(parser.add_argument_group("the recipe, of the reference alone"))
    return parser


def _add_recipe_options(group: Any) -> None:
    def add(name: str, kind: Any, help: str, **more: Any) -> None:
        group.add_argument(name, type=kind, help=help, default=argparse.SUPPRESS, **more)

    add(
        "--size", int, "learn from random crops of so many pixels, test on the middle (224 for "
        "imagefolder:PATH and networks of that size, else images are taken as they are)",
        metavar="PIXELS",
    )  # fmt: skip
    add_zip_encoding(group)
    add("--aux-weight", float, "of the loss of each auxiliary head, for example 0.3 (no heads)")
    add("--precision", str, "float32, or automatic mixed precision (float32)", choices=PRECISIONS)
    add("--accumulate", int, "take a batch in so many parts (1)", metavar="PARTS")
    add("--clip-norm", float, "longest gradient (any)")
    add("--ema", float, "use a mean of the weights that keeps this share a step, as 0.999 (none)")
    add("--weights", str, "begin with these: a file, a run, torchvision's name (drawn at random)")
    add("--freeze", str, "with weights: train the last layer alone", choices=("features",))
    add(
        "--head", str, "a new last layer; mlp-bn is that of the weights if they have one that fits",
        choices=HEADS,
    )  # fmt: skip
    add("--epoch-steps", int, "end an epoch after so many steps", metavar="STEPS")
    for flag, text in [
        ("--sync-bn", "batch norm over the images of all processes (GPUs)"),
        ("--channels-last", "memory in the order of channels last"),
        ("--compile", "compile the network by torch.compile"),
        ("--deterministic", "the same bits each time on a GPU too, at some cost"),
    ]:
        group.add_argument(
            flag, action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS
        )


_FIELDS = {field.name for field in dataclasses.fields(Recipe)} - {"model", "data"}


def _options(args: argparse.Namespace) -> dict[str, Any]:
    options = {name: value for name, value in vars(args).items() if name in _FIELDS}
    if "milestones" in options:
        options["milestones"] = tuple(options["milestones"])
    weights = options.get("weights")
    if weights is not None and expanded(weights).exists():
        options["weights"] = str(expanded(weights).absolute())
    return options


# ---------------------------------------------------------------------------------------- the run


def _train(args: argparse.Namespace, machine: Machine) -> None:
    integer("reference.train", "save_every", args.save_every, 1)
    if args.workers is not None:
        integer("reference.train", "workers", args.workers, 0)
    run = _resumed(args, machine) if args.resume else _begun(args, machine)
    _settle(run.recipe, machine)
    if machine.main:
        _print_head(run)
    log = Log(run, steps=args.log_steps, tensorboard=args.tensorboard) if machine.main else None
    bar = _bar(run, args.quiet or not machine.main)

    def on_step(step: Step) -> None:
        bar.update(step.images)
        bar.set_postfix_str(f"loss {step.loss:.4f}", refresh=False)
        if log is not None:
            log.step(step)

    def on_epoch(row: dict[str, float]) -> None:
        if log is None:
            return
        best = "  best" if run.best["epoch"] == row["epoch"] else ""
        bar.write(epoch_line(row, run.recipe.epochs) + best, file=sys.stdout)
        sys.stdout.flush()
        log.epoch(row)

    try:
        loop.fit(run, on_step, on_epoch)
    finally:
        bar.close()
        if log is not None:
            log.close()
    scores = loop.finish(run)
    run.release()
    if machine.main:
        seconds = sum(row["seconds"] for row in run.history)
        print(
            f"test accuracy {scores.accuracy:.2%} (top-{TOP_K} {scores.top_k:.2%}, loss "
            f"{scores.loss:.4f}) on {len(run.parts.test):,} images, with the weights of epoch "
            f"{int(run.best['epoch'])}; {seconds:.1f} s of training\n"
            f"run folder {run.folder}; "
            + (
                f"for minicnn: python -m reference.exchange {run.folder} --check"
                if run.recipe.in_minicnn
                else f"minicnn has no {run.recipe.network}"
            )
        )


def _begun(args: argparse.Namespace, machine: Machine) -> Run:
    if args.model is None:
        raise ValueError(f"which preset or model? Presets: {', '.join(PRESETS)}.")
    name = None if args.data is None else whole_name(args.data)
    recipe = recipe_for(args.model, name, **_options(args))
    folder = args.out or Path("runs", folder_name(recipe.model, recipe.data) + "-reference")
    if args.go_on and args.out is None:
        raise TrainError("--continue goes on in the folder of --out. Give it too.")
    if may_restart() and not args.go_on:
        raise TrainError(
            "torchrun would start this run again from its beginning (--max-restarts). Give --out "
            "RUN --continue: with them it begins in the folder RUN, and goes on there."
        )
    if args.go_on and machine.once((folder / "config.json").exists):
        return _taken_up(args, machine, folder, recipe)
    if args.out is not None and machine.once((folder / "last.safetensors").exists):
        raise TrainError(
            f"{folder}: there is a run already. Go on with it by --resume {folder}, or choose "
            "another folder with --out."
        )
    run = Run(
        recipe, folder, machine, data_dir=args.data_dir, workers=args.workers,
        save_every=args.save_every,
    )  # fmt: skip
    run.folder = machine.once(lambda: make(folder, numbered=args.out is None))
    run.take()
    machine.once(lambda: checkpoint.write_json(run.folder / "config.json", run.config()))
    return run


def _resumed(args: argparse.Namespace, machine: Machine) -> Run:
    recipe, _ = machine.once(lambda: read_config(args.resume))
    name = None if args.data is None else whole_name(args.data)
    own = args.model in (None, recipe.model)
    if args.model in PRESETS:
        own = PRESETS[args.model]["model"] == recipe.model
    if not own or name not in (None, recipe.data):
        raise TrainError(
            f"{args.resume} is a run of {recipe.model} on {recipe.data}. Leave model and data out, "
            "or start another run."
        )
    if args.out is not None:
        raise TrainError("--out names a new run, --resume an old one. Give one of them.")
    return _taken_up(args, machine, args.resume, dataclasses.replace(recipe, **_options(args)))


def _taken_up(args: argparse.Namespace, machine: Machine, folder: Path, recipe: Recipe) -> Run:
    """Return the run of ``folder`` where it stopped, if its recipe is this one."""
    old, content = machine.once(lambda: read_config(folder))
    different = [
        name
        for name in recipe.as_json()
        if getattr(recipe, name) != getattr(old, name) and name not in MANNER
    ]
    if different:
        raise TrainError(
            f"{folder} has its own recipe, which {_flags(different)} would change. Leave it out, "
            f"or start a new run. (What may change: {_flags(MANNER)}.)"
        )
    run = Run(
        recipe, folder, machine, data_dir=args.data_dir or content["data_dir"],
        workers=args.workers, save_every=args.save_every, resumed=True,
    )  # fmt: skip
    if run.config()["data"] != content["data"]:
        raise TrainError(
            f"{folder}: the data set {recipe.data} is not the one this run began with (its "
            "classes, sizes or mean differ). Give the same data, or start a new run."
        )
    run.take()
    if machine.once((folder / "last.safetensors").exists):
        state.load(run)
    elif recipe.weights is not None:  # stopped before the first checkpoint: it begins anew
        run.take_weights()
    return run


def _flags(names: Sequence[str]) -> str:
    """Return the options of so named fields of a recipe."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _settle(recipe: Recipe, machine: Machine) -> None:
    """Set what PyTorch keeps for the whole process."""
    if recipe.deterministic:
        # PyTorch's notes on reproducibility ask for this, without which cuBLAS may differ.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = machine.cuda and not recipe.deterministic


# ------------------------------------------------------------------------------- what is printed


def _print_head(run: Run) -> None:
    recipe, parts = run.recipe, run.parts
    learn = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in run.model.parameters())
    parameters = f"{total:,} parameters" + (f", {learn:,} to train" if learn < total else "")
    print(
        f"{recipe.model} ({parameters}) on {recipe.data}: {len(parts.train):,} images to train, "
        f"{len(parts.validation):,} to validate, {len(parts.test):,} to test\n"
        f"{recipe.optimizer}, lr {recipe.lr:g} ({recipe.schedule}), epochs: {recipe.epochs}, "
        f"images a batch: {recipe.batch_size}, seed {recipe.seed}; run folder: {run.folder}\n"
        f"{run.machine}; {recipe.precision}"
        + (", channels last" if recipe.channels_last else "")
        + (", compiled" if recipe.compile else "")
        + f"; {run.part} images at a time"
    )
    if recipe.cut:
        size = f"{recipe.size} x {recipe.size}"
        print(f"learns from random crops of {size} pixels, is tested on images {recipe.cut}")
    if run.begun:
        print(f"begins with {recipe.weights}: {run.begun}")
    for text in parts.skipped:
        print(f"left out: {text}")
    if run.done:
        print("all epochs are done; here is the result again")
    elif run.epoch or run.batch:
        print(f"going on in epoch {run.epoch + 1} after batch {run.batch}")
    sys.stdout.flush()


def _bar(run: Run, quiet: bool) -> Any:
    from tqdm import tqdm

    width = shutil.get_terminal_size().columns
    images = run.recipe.batch_size
    return tqdm(
        total=run.steps * run.recipe.epochs * images,
        initial=run.step_number * images,
        unit=" images",
        disable=True if quiet else None,
        ncols=min(width, 100),
        leave=False,
        mininterval=0.2,
    )
