"""Weights between PyTorch's files and safetensors: ``python -m reference.exchange IN OUT``.

    python -m reference.exchange resnet18-f37072fd.pth resnet18.safetensors
    python -m reference.exchange model.safetensors model.pth
    python -m reference.exchange runs/lenet5-mnist-reference --check

What the endings say is done: ``.pth`` or ``.pt`` is a state dict that ``torch.save`` wrote,
``.safetensors`` what minicnn reads and writes. Every number stays as it is, bit for bit, and so
does its type. ``torch.load`` is asked for weights only, so that a file cannot run code.

Of the folder of a run of ``reference.train`` a folder is made that ``minicnn evaluate`` takes.
"""

from __future__ import annotations

import argparse
import io
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

try:
    import torch
except ModuleNotFoundError:
    sys.exit("reference needs PyTorch, which is not installed. Use: pip install -e '.[reference]'")
from safetensors import safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from minicnn import checkpoint, files
from minicnn.checkpoint import CheckpointError
from minicnn.commands.options import path_option
from minicnn.data.pickled import deepest_tuple

PYTORCH, SAFETENSORS = (".pth", ".pt"), (".safetensors",)

# Torchvision's DenseNet was once called so in its files; torchvision itself renames it on loading.
_OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


_DEEPEST = 8  # tuples within tuples; torch.save writes 2


class ExchangeError(Exception):
    """A file that cannot be read, understood or written; says which and what to do."""


def read(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name, on the CPU."""
    kind = _kind(path)
    try:
        content = files.read_bounded(path, checkpoint.MOST_TENSORS, "a file of weights")
    except OSError as error:
        raise ExchangeError(
            f"{path}: cannot be read ({error.strerror or error}). Give a file of weights."
        ) from error
    if kind == SAFETENSORS:
        return _of_safetensors(path, content)
    _check_packed(path, content)
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ExchangeError(
            f"{path}: holds other things than tensors by name, or is damaged. Save the state dict "
            "alone, by torch.save(model.state_dict(), path)."
        ) from error
    except Exception as error:  # many kinds, by where a file is cut off
        raise ExchangeError(
            f"{path}: is no whole file of PyTorch ({type(error).__name__}). Take another copy."
        ) from error
    return _state_dict(path, loaded, len(content))


def _of_safetensors(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    try:
        tensors = from_bytes(content)
    except Exception as error:  # a damaged header can fail in any way
        raise ExchangeError(
            f"{path}: cannot be read as safetensors ({error}). Take another copy."
        ) from error
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        checkpoint.check_written(
            path, {name: tensor.numpy() for name, tensor in tensors.items()}, metadata
        )
    except TypeError:  # bfloat16, which NumPy has not, and no run writes
        pass
    except CheckpointError as error:
        raise ExchangeError(str(error)) from error
    return tensors


def _check_packed(path: Path, content: bytes) -> None:
    """Raise ExchangeError for a file of PyTorch, a zip, that unpacks to much more, or never ends.

    Tuples within tuples that are used as a key are hashed, which can take longer than a life.
    """
    pickles = [content]
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            inside = sum(member.file_size for member in members)
            if inside > 2 * len(content) + 2**20:
                raise ExchangeError(
                    f"{path}: claims {files.amount(inside)} in {files.amount(len(content))}, "
                    "which torch.save does not write. Take another copy."
                )
            pickles = [archive.read(member) for member in members if member.filename[-4:] == ".pkl"]
    except ExchangeError:
        raise
    except Exception:  # of before PyTorch 1.6, or damaged: torch.load tells
        pass
    if max(map(deepest_tuple, pickles), default=0) > _DEEPEST:
        raise ExchangeError(
            f"{path}: nests tuples more than {_DEEPEST} deep, which torch.save does not do. Take "
            "another copy."
        )


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors by name: whole, or not at all."""
    kind = _kind(path)
    whole = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    if kind == SAFETENSORS:
        content = to_bytes(whole)
    else:
        buffer = io.BytesIO()
        torch.save(whole, buffer)
        content = buffer.getvalue()
    try:
        files.write_whole(path, content)
    except OSError as error:
        raise ExchangeError(f"{path}: cannot be written ({error.strerror}).") from error


def exchange(source: Path, target: Path) -> dict[str, torch.Tensor]:
    """Write what ``source`` holds to ``target``, in the form its ending says; return it."""
    if _kind(source) == _kind(target):
        raise ExchangeError(
            f"{source} and {target} have the same form. One must end in .pth or .pt, the other in "
            ".safetensors."
        )
    tensors = read(source)
    write(target, tensors)
    return tensors


def _kind(path: Path) -> tuple[str, ...]:
    for kind in (PYTORCH, SAFETENSORS):
        if path.suffix in kind:
            return kind
    raise ExchangeError(f"{path}: must end in .pth, .pt or .safetensors.")


def _state_dict(path: Path, loaded: object, size: int) -> dict[str, torch.Tensor]:
    """Return ``loaded`` if it is a state dict, with the names of today; the file has ``size``."""
    if not isinstance(loaded, Mapping):
        raise ExchangeError(
            f"{path}: holds a {type(loaded).__name__}, and a state dict is needed: tensors by name."
        )
    others = [str(name) for name, value in loaded.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise ExchangeError(
            f"{path}: not all it holds are tensors: {', '.join(others[:5])}"
            f"{', ...' if len(others) > 5 else ''}. If a state dict is among them, save it alone."
        )
    if not loaded:
        raise ExchangeError(f"{path}: holds no tensors.")
    tensors: dict[str, torch.Tensor] = {}
    total = 0  # bytes
    for key, tensor in loaded.items():
        if not isinstance(key, str):
            raise ExchangeError(
                f"{path}: {key!r} is a {type(key).__name__}, and names are needed. Rename it."
            )
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise ExchangeError(
                f"{path}: {key!r} is no name: it has no UTF-8. Rename it."
            ) from error
        if what := _unlike_weights(tensor):
            raise ExchangeError(
                f"{path}: {key} is {what}, and weights are dense real numbers. Convert it, or "
                "leave it out."
            )
        name = _OLD_NAME.sub(r"\1\2", key)
        if name in tensors:
            raise ExchangeError(
                f"{path}: {name} is there twice, by its old name and by that of today. Remove one."
            )
        total += tensor.numel() * tensor.element_size()
        if total > 4 * size + 2**20:  # views of one memory may be there more than once
            raise ExchangeError(
                f"{path}: {key} is a view that repeats its numbers: with it the tensors have "
                f"{files.amount(total)}, and the file has {files.amount(size)}. Save what the "
                "network holds, by torch.save(model.state_dict(), path)."
            )
        tensors[name] = tensor
    return tensors


def _unlike_weights(tensor: torch.Tensor) -> str:
    """Return what keeps a tensor from being written as plain numbers, "" for nothing."""
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_meta:
        return "of the device meta, without numbers"
    return "complex" if tensor.is_complex() else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m reference.exchange",
        description="Weights between PyTorch's files and safetensors, bit for bit.",
    )
    parser.add_argument(
        "source", type=path_option, metavar="IN",
        help=".pth, .pt or .safetensors, or the folder of a run",
    )  # fmt: skip
    parser.add_argument(
        "target", type=path_option, nargs="?", metavar="OUT",
        help="the same, of the other form; of a run a folder (RUN/minicnn)",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true",
        help="of a run: compare what both sides say of all test images; exit code 1 if they differ",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if not args.source.is_dir() and (args.target is None or args.check):
        if not args.source.exists():
            parser.error(f"{args.source}: there is no such file or folder")
        parser.error("OUT is needed, and --check is not, unless IN is the folder of a run")
    try:
        if args.source.is_dir():
            return _run_to_minicnn(args.source, args.target or args.source / "minicnn", args.check)
        tensors = exchange(args.source, args.target)
    except ExchangeError as error:
        print(f"reference.exchange: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    numbers = sum(tensor.numel() for tensor in tensors.values())
    print(f"{args.target}: {len(tensors)} tensors, {numbers:,} numbers")
    return 0


def _run_to_minicnn(source: Path, target: Path, check: bool) -> int:
    """Make a run of minicnn of one of ``reference.train``; return the exit code."""
    from minicnn.data import DataError
    from minicnn.run_folder import TrainError
    from reference.train import to_minicnn

    if target.suffix in (*PYTORCH, *SAFETENSORS):
        raise ExchangeError(
            f"{target}: OUT of a run is a folder. For a file give {source / 'model.safetensors'} "
            "as IN."
        )
    try:
        tensors, cut = to_minicnn.write(source, target)
        numbers = sum(tensor.numel() for tensor in tensors.values())
        print(f"{target}: {len(tensors)} tensors, {numbers:,} numbers")
        if cut:
            print(
                f"the images of this run are {cut}, which minicnn does not do: compare both here "
                f"by --check, or give it such images by: minicnn evaluate {target} --data "
                "imagefolder:FOLDER_OF_SUCH_IMAGES"
            )
        else:
            print(f"to evaluate it: minicnn evaluate {target}")
        if not check:
            return 0
        both = to_minicnn.compare(source, target)
    except (CheckpointError, DataError, TrainError, ValueError) as error:
        raise ExchangeError(str(error)) from error
    theirs, ours = both.accuracies
    print(
        f"{both.same:,} of {both.images:,} test images are taken for the same class; accuracy "
        f"{theirs:.2%} in PyTorch, {ours:.2%} in minicnn"
    )
    return 0 if both.same == both.images else 1


if __name__ == "__main__":
    # As reference.exchange, not __main__: what it calls raises the errors of that module.
    from reference.exchange import main as command

    sys.exit(command())
