"""``minicnn gradcheck``: check gradients."""

from __future__ import annotations

import argparse
from typing import Any

from minicnn.waiting import Waiting


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "gradcheck",
        help="check the gradients of a layer, ours or yours",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compare backward with differences of forward, and name the likely mistake.",
        epilog=(
            "examples:\n"
            "  minicnn gradcheck minicnn.ops:conv2d            (calls are drawn at random)\n"
            '  minicnn gradcheck "minicnn.nn:Conv2d(3, 4, 3, rng=rng)" --input 2,3,6,5\n'
            '  minicnn gradcheck "layers.py:Scale(3)" --input 2,3,4,4\n'
            '  minicnn gradcheck "common/layers.py:Affine(W, b)" --input 5,4   (in its package)\n'
            "  minicnn gradcheck losses.py:softmax_loss --input 4,3 --input 4:3\n"
            "  minicnn gradcheck minicnn.ops:cross_entropy --input 4,3 --input 4:3\n"
            "exit code: 0 if the gradients are right, 1 if not, 2 if they could not be checked;\n"
            "bad manners (dtype, writes, caches) are reported, and count with --strict"
        ),
    )
    parser.add_argument(
        "target", metavar="MODULE:OBJECT",
        help="an object, or an expression such as Scale(3), which may use np and rng",
    )  # fmt: skip
    parser.add_argument(
        "--input", action="append", default=[], metavar="SHAPE", dest="inputs",
        help="shape of an array that forward takes, such as 2,3,6,5; for labels, shape:classes, "
        'such as 4:3; "none" for an array that is not given. Give --input once for each array.',
    )  # fmt: skip
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", dest="options",
        help="an option of forward, such as stride=2",
    )  # fmt: skip
    parser.add_argument(
        "--torch", metavar="MODULE:OBJECT",
        help="a function of torch, or a torch.nn.Module, that computes the same",
    )  # fmt: skip
    parser.add_argument(
        "--forward", metavar="NAME", help="the method that computes y, if not forward or __call__"
    )
    parser.add_argument(
        "--backward", metavar="NAME", help="the method that computes gradients, if not backward"
    )
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=GRADIENT", dest="parameters",
        help="attribute with the gradient of a parameter, such as filters=g_filters; only needed "
        "for unusual names (usual: W/dW, weight/grad_weight, params/grads, ...)",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", choices=("float32", "float64"),
        help="the precision of the check (float64, unless the code computes in float32 only)",
    )  # fmt: skip
    parser.add_argument(
        "--strict", action="store_true", help="count bad manners like wrong gradients"
    )
    parser.add_argument("--inference", action="store_true", help="call layers with training=False")
    parser.add_argument(
        "--examples", type=int, default=100, help="how many calls to draw without --input (100)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (0)")
    parser.set_defaults(run=_run, waiting=Waiting("minicnn gradcheck", "importing minicnn"))


def _run(args: argparse.Namespace) -> int:
    from minicnn.testing import command

    if args.examples < 1:
        raise ValueError(f"--examples must be at least 1, got {args.examples}.")
    if args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}.")
    code, report = command.run(
        args.target, args.inputs, args.options, args.torch, not args.inference, args.examples,
        args.seed, forward=args.forward, backward=args.backward, parameters=args.parameters,
        dtype=args.dtype, strict=args.strict, say=args.waiting.say,
    )  # fmt: skip
    print(report)
    return code
