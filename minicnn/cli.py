"""The command ``minicnn``: train, evaluate, predict, summary, gradcheck, doctor.

What can be foreseen to go wrong ends with one line on stderr and exit code 2; Ctrl-C with 130.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minicnn.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = _parser().parse_args(argv)
    try:
        return _run(args)
    except KeyboardInterrupt:
        print(f"minicnn {args.command}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(args: argparse.Namespace) -> int:
    from minicnn.checkpoint import CheckpointError
    from minicnn.data import DataError
    from minicnn.train import Interrupted, TrainError

    try:
        code = args.run(args) or 0
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (CheckpointError, DataError, TrainError, ValueError, OSError, MemoryError) as error:
        print(f"minicnn {args.command}: {error}", file=sys.stderr)
        return 2
    except Interrupted as error:
        print(f"minicnn {args.command}: {error}", file=sys.stderr)
        return 130
    return code


# ---------------------------------------------------------------------------------------- options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minicnn",
        description="Train and use small convolutional networks, written from scratch.",
        epilog="Begin with: minicnn train lenet5",
    )
    parser.add_argument("--version", action="version", version=f"minicnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)

    evaluate = commands.add_parser(
        "evaluate", help="scores of a run's best weights on a data set", formatter_class=Help
    )
    evaluate.add_argument("folder", type=Path, metavar="RUN", help="folder that a training left")
    evaluate.add_argument("--data", metavar="NAME", help="another data set than the run's own")
    evaluate.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="which part"
    )
    add_data_dir(evaluate)
    evaluate.set_defaults(run=_evaluate)

    predict = commands.add_parser(
        "predict", help="the most probable classes of images", formatter_class=Help
    )
    predict.add_argument("folder", type=Path, metavar="RUN", help="folder that a training left")
    predict.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="PNG or JPEG files")
    predict.add_argument("--top", type=int, default=3, metavar="K", help="classes to show")
    predict.add_argument(
        "--invert",
        action="store_true",
        help="exchange dark and light, for digits written dark on light",
    )
    predict.set_defaults(run=_predict)

    summary = commands.add_parser(
        "summary", help="a network's layers, shapes, parameters, fields", formatter_class=Help
    )
    summary.add_argument(
        "model", metavar="MODEL", help="lenet5, resnet20, ...; a wrong one lists all"
    )
    summary.add_argument("--classes", type=int, help="how many it tells apart, if not as usual")
    summary.set_defaults(run=_summary)

    _add_gradcheck(commands)
    doctor = commands.add_parser("doctor", help="what is installed, found and compiled")
    add_data_dir(doctor)
    doctor.add_argument(
        "--warm", action="store_true", help="compile all kernels first, so that no run has to wait"
    )
    doctor.set_defaults(run=_doctor)
    return parser


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except those that the recipe decides."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option of where data sets lie."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where data sets lie or go (else $MINICNN_DATA, else the user's cache)",
    )


def _add_train(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train a network",
        formatter_class=Help,
        description="Train a network and leave a folder with weights, metrics and pictures.",
        epilog="Options that are not given come from the recipe of the model and the data set.",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="lenet5, resnet20, ...; a wrong one lists all"
    )
    parser.add_argument(
        "--data",
        metavar="NAME",
        help="digits (the default, no download), mnist, fashion-mnist, kmnist, cifar10, "
        "imagefolder:PATH (of a folder or a zip)",
    )
    add_data_dir(parser)
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="a new folder for the run (else under runs/)"
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with this run instead")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")

    add_plan_options(parser)
    parser.add_argument(
        "--impl", default=argparse.SUPPRESS, help="fast, or textbook to run the formulas"
    )
    for flag, text in [
        ("--drop-last", "leave out the last, incomplete batch of an epoch"),
        ("--fuse", "run neighbouring layers as one operation (so it is unless --no-fuse)"),
    ]:
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS
        )
    parser.set_defaults(run=_train)


def add_plan_options(parser: argparse._ActionsContainer) -> None:
    """Add an option for each field of ``minicnn.recipes.Plan``; one not given is not there."""

    def add(name: str, kind: Any, help: str, **more: Any) -> None:
        parser.add_argument(name, type=kind, help=help, default=argparse.SUPPRESS, **more)

    add("--epochs", int, "times through the training images")
    add("--batch-size", int, "images a step")
    add("--optimizer", str, "sgd, adam or adamw")
    add("--lr", float, "learning rate, with onecycle the highest")
    add("--momentum", float, "of sgd (0.9)")
    add("--weight-decay", float, "pull of the weights towards 0")
    add("--schedule", str, "constant, step, multistep, cosine or onecycle")
    add("--warmup-epochs", int, "epochs in which the rate rises to its full value")
    add("--step-epochs", int, "schedule step: epochs between drops (a third of the run)")
    add("--milestones", int, "schedule multistep: epochs of the drops", nargs="+", metavar="EPOCH")
    add("--gamma", float, "schedules step and multistep: factor of a drop (0.1)")
    add("--label-smoothing", float, "share of the target spread over all classes")
    add("--init", str, "default, {kaiming,xavier}_{uniform,normal}")
    parser.add_argument(
        "--shift", "--crop", type=int, metavar="PIXELS", default=argparse.SUPPRESS,
        help="augmentation: random shift of up to so many pixels, which is a random crop of the "
        "image padded with as many",
    )  # fmt: skip
    add("--rotate", float, "augmentation: random rotation of up to so many degrees")
    add("--validation", float, "part of the training images set apart for validation (1/12)")
    add("--patience", int, "stop after so many epochs without a better validation")
    add("--seed", int, "of the weights, the order and the augmentation")
    for flag, text in [
        ("--nesterov", "Nesterov's momentum in sgd"),
        ("--flip", "augmentation: exchange left and right, one time in two"),
    ]:
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS
        )


def _add_gradcheck(commands: Any) -> None:
    parser = commands.add_parser(
        "gradcheck",
        help="are gradients right, of our layers or of yours?",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Check gradients by differences of forward, and name the likely mistake.",
        epilog=(
            "examples:\n"
            "  minicnn gradcheck minicnn.ops:conv2d            (calls are drawn at random)\n"
            '  minicnn gradcheck "minicnn.nn:Conv2d(3, 4, 3, rng=rng)" --input 2,3,6,5\n'
            '  minicnn gradcheck "layers.py:Scale(3)" --input 2,3,4,4\n'
            "  minicnn gradcheck minicnn.ops:cross_entropy --input 4,3 --input 4:3\n"
            "exit code: 0 if the gradients are right, 1 if not, 2 if they could not be checked"
        ),
    )
    parser.add_argument(
        "target", metavar="MODULE:OBJECT",
        help="an object, or an expression such as Scale(3); np and rng are known in it",
    )  # fmt: skip
    parser.add_argument(
        "--input", action="append", default=[], metavar="SHAPE", dest="inputs",
        help="shape of an array that forward takes, 2,3,6,5; of labels with the number of classes, "
        '4:3; "none" for one that is not given. Once for each array.',
    )  # fmt: skip
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", dest="options",
        help="an option of forward, stride=2",
    )  # fmt: skip
    parser.add_argument(
        "--torch", metavar="MODULE:OBJECT",
        help="a function of torch, or a torch.nn.Module, that computes the same",
    )  # fmt: skip
    parser.add_argument("--inference", action="store_true", help="call layers with training=False")
    parser.add_argument(
        "--examples", type=int, default=100, help="how many calls to draw without --input (100)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (0)")
    parser.set_defaults(run=_gradcheck)


_NOT_OF_THE_RECIPE = ("command", "run", "model", "data", "data_dir", "out", "resume", "quiet")


# --------------------------------------------------------------------------------------- commands


def _train(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from minicnn import evaluation, train
    from minicnn.recipes import recipe_for

    options = {k: v for k, v in vars(args).items() if k not in _NOT_OF_THE_RECIPE}
    if "milestones" in options:
        options["milestones"] = tuple(options["milestones"])
    if args.resume is not None:
        _refuse_with_resume(args, options)
        run = train.resume(args.resume, args.data_dir)
    else:
        if args.model is None:
            raise ValueError(f"which model? Known: {_models()}.")
        name = whole_name(args.data or "digits")
        recipe = recipe_for(args.model, name, **options)
        folder = args.out or Path("runs", folder_name(args.model, name))
        run = train.start(recipe, folder, args.data_dir, numbered=args.out is None)
    recipe = run.recipe
    train_n, validation_n, test_n = (len(part) for part in run.splits)
    parameters = sum(param.data.size for param in run.model.parameters())
    print(
        f"{recipe.model} ({parameters:,} parameters) on {recipe.data}: {train_n:,} images to "
        f"train, {validation_n:,} to validate, {test_n:,} to test\n"
        f"{recipe.optimizer}, lr {recipe.lr:g} ({recipe.schedule}), epochs: {recipe.epochs}, "
        f"images a batch: {recipe.batch_size}, seed {recipe.seed}; run folder: {run.folder}"
    )
    if run.done:
        print("all epochs are done; here is the result again")
    elif run.epoch or run.batch:
        print(f"going on in epoch {min(run.epoch + 1, recipe.epochs)} after batch {run.batch}")
    # The bar counts images over the whole run, so its rate is images a second and its estimate
    # the time left until the end.
    bar = tqdm(
        total=train_n * recipe.epochs,
        initial=train_n * run.epoch + run.seen,
        unit=" images",
        disable=True if args.quiet else None,
        dynamic_ncols=True,
        leave=False,
        mininterval=0.2,
    )

    def on_batch(now: train.Progress) -> None:
        bar.update(now.images)
        bar.set_postfix_str(f"loss {now.loss:.4f}, accuracy {now.accuracy:.2%}", refresh=False)

    def on_epoch(row: dict[str, float]) -> None:
        epoch = int(row["epoch"])
        best = "  best" if run.best["epoch"] == epoch else ""
        bar.set_description(f"epoch {min(epoch + 1, recipe.epochs)}/{recipe.epochs}", refresh=False)
        bar.write(epoch_line(row, recipe.epochs) + best, file=sys.stdout)

    bar.set_description(f"epoch {min(run.epoch + 1, recipe.epochs)}/{recipe.epochs}")
    try:
        run.fit(on_batch, on_epoch)
    finally:
        bar.close()
    if run.epoch < recipe.epochs:
        print(f"stopped early: {recipe.patience} epochs without a better validation")
    scores = run.finish()
    seconds = sum(row["seconds"] for row in run.history)
    print(
        f"test accuracy {scores.accuracy:.2%} (top-{evaluation.TOP_K} {scores.top_k:.2%}, loss "
        f"{scores.loss:.4f}) on {test_n:,} images, with the weights of epoch "
        f"{int(run.best['epoch'])}; {seconds:.1f} s of training"
    )
    pictures = sorted(path.name for path in run.folder.glob("*.png"))
    print(f"pictures in {run.folder}: {', '.join(pictures)}")


def epoch_line(row: dict[str, float], epochs: int) -> str:
    """Return what is printed of an epoch."""
    return (
        f"epoch {int(row['epoch']):>3}/{epochs}  loss {row['train_loss']:.4f}  accuracy "
        f"{row['train_accuracy']:7.2%}  validation loss {row['validation_loss']:.4f}  accuracy "
        f"{row['validation_accuracy']:7.2%}  {row['images_per_second']:,.0f} images/s"
    )


def _refuse_with_resume(args: argparse.Namespace, options: dict[str, Any]) -> None:
    """Raise where an option would be ignored because the run has its own."""
    from minicnn.train import TrainError, read_config

    recipe = read_config(args.resume).recipe
    if args.model not in (None, recipe.model):
        raise TrainError(
            f"{args.resume} is a run of {recipe.model}, not of {args.model}. Leave the model out, "
            f"or start a run of {args.model} in another folder."
        )
    if args.data is not None and whole_name(args.data) != recipe.data:
        raise TrainError(f"{args.resume} is a run on {recipe.data}, not on {args.data}.")
    if args.out is not None:
        raise TrainError("--out names a new run, --resume an old one. Give one of them.")
    different = [name for name, value in options.items() if getattr(recipe, name) != value]
    if different:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in different)
        raise TrainError(
            f"{args.resume} has its own recipe, which {names} would change. Leave it out, or "
            "start a new run."
        )


def _evaluate(args: argparse.Namespace) -> None:
    from minicnn import data, evaluation, fuse, train

    model, config = train.load_model(args.folder)
    name = config.recipe.data if args.data is None else whole_name(args.data)
    cut = config.content["data"].get("cut")
    if cut and name == config.recipe.data:
        raise train.TrainError(
            f"{args.folder}: its images were {cut}, which minicnn does not do. Give images that "
            "are cut so by --data, or compare what both say of the run's own by: python -m "
            "reference.exchange RUN --check"
        )
    own = config.recipe.validation if name == config.recipe.data else None
    splits = data.load(name, args.data_dir or config.data_dir, validation=own)
    dataset = getattr(splits, args.split)
    if dataset.classes != tuple(config.classes):
        raise train.TrainError(
            f"{name} has the classes {_some(dataset.classes)}, the run {args.folder} learned "
            f"{_some(config.classes)}. Evaluate it on data of the same classes."
        )
    h, w, c = dataset.images.shape[1:]
    if (c, h, w) != config.image:
        raise train.TrainError(
            f"{name} has images of (channels, height, width) {(c, h, w)}, the run {args.folder} "
            f"learned on {config.image}. Resize them first."
        )
    network = fuse(model, inference=True)
    scores = evaluation.evaluate(network, dataset, config.normalization)
    print(
        f"{config.recipe.model} on the {args.split} split of {name}, {len(dataset):,} images: "
        f"accuracy {scores.accuracy:.2%}, top-{evaluation.TOP_K} {scores.top_k:.2%}, "
        f"loss {scores.loss:.4f}"
    )
    worst = _confusions(dataset.labels, scores.predictions, config.classes)
    if worst:
        print(f"most often confused: {worst}")


def _confusions(labels: Any, predictions: Any, classes: Sequence[str]) -> str:
    """Return the three most frequent mistakes as text."""
    from collections import Counter

    wrong = labels != predictions
    pairs = Counter(zip(labels[wrong].tolist(), predictions[wrong].tolist(), strict=True))
    return ", ".join(
        f"{classes[true]} taken for {classes[predicted]} ({count})"
        for (true, predicted), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[
            :3
        ]
    )


def _predict(args: argparse.Namespace) -> None:
    import numpy as np

    from minicnn import data, train
    from minicnn.ops import softmax

    if args.top < 1:
        raise ValueError(f"--top must be at least 1, got {args.top}.")
    model, config = train.load_model(args.folder)
    c, h, w = config.image
    images = np.stack([data.read_image(path, (h, w), c) for path in args.images])
    if args.invert:
        images = 255 - images
    probabilities, _ = softmax.forward(model(data.normalize(images, config.normalization)))
    width = max(len(str(path)) for path in args.images)
    for path, row in zip(args.images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[: args.top]
        answer = "   ".join(f"{config.classes[k]} {row[k]:6.2%}" for k in best)
        print(f"{path!s:<{width}}  {answer}")


def _summary(args: argparse.Namespace) -> None:
    from minicnn import models, nn
    from minicnn.nn.summary import as_text

    if args.classes is not None and args.classes < 1:
        raise ValueError(f"--classes must be at least 1, got {args.classes}.")
    model = models.create(args.model, args.classes)
    image = models.MODELS[args.model].image
    print(as_text(nn.summarize(model, image), image))


def _doctor(args: argparse.Namespace) -> None:
    from minicnn.doctor import report

    if args.warm:
        from minicnn.warm import warm

        for part in warm():
            print(f"compiling: {part}", flush=True)
    print(report(args.data_dir))


def _gradcheck(args: argparse.Namespace) -> int:
    from minicnn.testing import command

    if args.examples < 1:
        raise ValueError(f"--examples must be at least 1, got {args.examples}.")
    if args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}.")
    code, report = command.run(
        args.target, args.inputs, args.options, args.torch, not args.inference, args.examples,
        args.seed,
    )  # fmt: skip
    print(report)
    return code


def whole_name(data: str) -> str:
    """Return the name of a data set, a path in it made absolute: a run may go on elsewhere."""
    kind, _, path = data.partition(":")
    return f"{kind}:{Path(path).expanduser().absolute()}" if path else data


def folder_name(model: str, data: str) -> str:
    kind, _, path = data.partition(":")
    return f"{model}-{Path(path).name.removesuffix('.zip') if path else kind}"


def _models() -> str:
    from minicnn.models import MODELS

    return ", ".join(MODELS)


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:4]) + (f", ... ({len(classes)})" if len(classes) > 4 else "")


if __name__ == "__main__":
    sys.exit(main())
