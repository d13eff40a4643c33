"""Results of torch kept in files, so that a machine without its card compares with them too.

A file holds, for one operation or network, the arrays that went in, the upstream gradient and all
that came out, in float64 and float32, and says of which card, driver and versions the results are.
"""

from __future__ import annotations

import copy
import itertools
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
from safetensors import safe_open
from safetensors.numpy import save

from minicnn import models, nn
from minicnn.files import write_whole
from minicnn.models.resnet import BasicBlock
from minicnn.testing.strategies import Call
from reference import models as reference_models
from tests import oracle
from tests.arrays import assert_close, sizes_of_terms
from tests.parity.comparison import accepted_by_torch
from tests.parity.differences import difference
from tests.parity.enumeration import GRIDS, Case, cases

FOLDER = Path(__file__).parent / "recordings"
DTYPES = (np.float64, np.float32)
SAMPLE = 12  # cases of each operation
RANDOM = {"dropout"}  # torch draws other numbers

Arrays = dict[str, np.ndarray]


class Recording(NamedTuple):
    name: str
    provenance: Mapping[str, Any]
    specs: list[dict[str, Any]]  # of each entry: options, number of gradients
    arrays: Arrays  # "ENTRY.DTYPE.WHAT"


def provenance(device: torch.device) -> dict[str, Any]:
    """Return where and by what results are computed."""
    found: dict[str, Any] = {
        "device": device.type,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "flags": {
            "matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
            "cudnn.deterministic": torch.backends.cudnn.deterministic,
            "cudnn.benchmark": torch.backends.cudnn.benchmark,
        },
    }
    if device.type == "cuda":
        found |= {
            "card": torch.cuda.get_device_name(device),
            "capability": list(torch.cuda.get_device_capability(device)),
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


# ------------------------------------------------------------------------------------- recording


def record(folder: Path, device: torch.device) -> list[Path]:
    """Compute everything on ``device`` and write one file for each operation and network."""
    operations = sorted(GRIDS.keys() - RANDOM)
    computed = {name: _of_operation(name, device) for name in operations}
    computed |= {name: _of_network(name, device) for name in NETWORKS}
    return [_save(folder, name, device, *results) for name, results in computed.items()]


def _save(
    folder: Path, name: str, device: torch.device, specs: list[dict[str, Any]], arrays: Arrays
) -> Path:
    metadata = {"provenance": json.dumps(provenance(device)), "specs": json.dumps(specs)}
    path = folder / f"{name}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {key: np.array(a, order="C") for key, a in arrays.items()}
    write_whole(path, save(arrays, metadata))
    return path


def load(path: Path) -> Recording:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no dict
    return Recording(
        path.stem, json.loads(metadata["provenance"]), json.loads(metadata["specs"]), arrays
    )


def _of_operation(name: str, device: torch.device) -> tuple[list[dict[str, Any]], Arrays]:
    """Return a fixed sample of the legal cases of an operation, computed by torch."""
    specs, arrays = [], {}
    for entry, case in enumerate(_sample(name)):
        specs.append({"options": case.options, "gradients": case.differentiable})
        for dtype in DTYPES:
            call = case.call(dtype)
            key = f"{entry}.{np.dtype(dtype)}."
            tensors = [None if a is None else _tensor(a, device) for a in call.arrays]
            arrays |= {f"{key}in{k}": a for k, a in enumerate(call.arrays) if a is not None}
            leaves = [t for t in tensors[: case.differentiable] if t is not None]
            for leaf in leaves:
                leaf.requires_grad_()
            with oracle.quietly():
                y = oracle.function_of(call)(*tensors)
            dy = call.fill.upstream(tuple(y.shape))
            y.backward(_tensor(dy, device))
            arrays |= {f"{key}dy": dy, f"{key}y": oracle.to_numpy(y)}
            for k, tensor in enumerate(tensors):
                if tensor is not None and k < case.differentiable:
                    arrays[f"{key}grad{k}"] = oracle.to_numpy(tensor.grad)
                elif tensor is not None and name == "batch_norm":  # what runs
                    arrays[f"{key}after{k}"] = oracle.to_numpy(tensor)
    return specs, arrays


def _sample(name: str) -> list[Case]:
    """Return the first SAMPLE legal cases that have numbers, in an order drawn once for all."""
    every = cases(name)
    order = np.random.default_rng(0).permutation(len(every))
    return list(itertools.islice((every[i] for i in order if _is_usual(every[i])), SAMPLE))


def _is_usual(case: Case) -> bool:
    if difference(case) or not accepted_by_torch(case):
        return False
    call = case.call(np.float64)
    return all(a is None or a.size for a in call.arrays) and call.forward("fast")[0].size > 0


def _tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    wide = array.astype(np.int64) if array.dtype.kind in "iu" else array
    return torch.from_numpy(wide.copy(order="C")).to(device)


# -------------------------------------------------------------------------------------- networks


def _lenet5() -> tuple[nn.Module, torch.nn.Module, tuple[int, ...]]:
    ours = models.lenet5(rng=np.random.default_rng(0))
    return ours, reference_models.LeNet5(), (2, 1, 28, 28)


def _block() -> tuple[nn.Module, torch.nn.Module, tuple[int, ...]]:
    downsample = torch.nn.Sequential(
        torch.nn.Conv2d(8, 16, 1, 2, bias=False), torch.nn.BatchNorm2d(16)
    )
    theirs = torchvision.models.resnet.BasicBlock(8, 16, 2, downsample)
    return BasicBlock(8, 16, 2, rng=np.random.default_rng(0)), theirs, (4, 8, 9, 10)


NETWORKS = {"lenet5": _lenet5, "resnet_block": _block}


def _of_network(name: str, device: torch.device) -> tuple[list[dict[str, Any]], Arrays]:
    """Return one training pass of a network: output and all gradients."""
    ours, theirs, shape = NETWORKS[name]()
    state, arrays = ours.state_dict(), {}
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape)
    arrays |= {f"0.state.{key}": array for key, array in state.items()}
    dy = None
    for dtype in DTYPES:
        module = copy.deepcopy(theirs).to(torch.float64 if dtype is np.float64 else torch.float32)
        module.load_state_dict({k: torch.from_numpy(np.array(a)) for k, a in state.items()})
        module.to(device).train()
        key = f"0.{np.dtype(dtype)}."
        leaf = _tensor(x.astype(dtype), device).requires_grad_()
        y = module(leaf)
        dy = rng.standard_normal(tuple(y.shape)) if dy is None else dy
        y.backward(_tensor(dy.astype(dtype), device))
        arrays |= {f"{key}in0": x.astype(dtype), f"{key}dy": dy.astype(dtype)}
        arrays |= {f"{key}y": oracle.to_numpy(y), f"{key}grad0": oracle.to_numpy(leaf.grad)}
        for parameter, tensor in module.named_parameters():
            arrays[f"{key}grad.{parameter}"] = oracle.to_numpy(tensor.grad)
        for buffer, tensor in module.named_buffers():
            arrays[f"{key}after.{buffer}"] = oracle.to_numpy(tensor)
    return [{"options": {}, "gradients": 1}], arrays


# ---------------------------------------------------------------------------------------- replay


def replay(recording: Recording, impl: str) -> int:
    """Compute every entry with minicnn; raise where it differs. Returns how many were compared."""
    if recording.name in NETWORKS:
        return _replay_network(recording, impl)
    for entry, spec in enumerate(recording.specs):
        for dtype in DTYPES:
            found = dict(_below(recording.arrays, f"{entry}.{np.dtype(dtype)}."))
            last = max(int(key[2:]) for key in found if key.startswith("in"))
            given = tuple(_copy(found.get(f"in{k}")) for k in range(last + 1))
            call = Call(recording.name, None, given, spec["options"], spec["gradients"])  # type: ignore[arg-type]
            scale, *scales = sizes_of_terms(call)
            y, cache = call.forward(impl)
            what = f"{recording.name} {spec['options']} {np.dtype(dtype)}"
            assert_close(y, found["y"], f"y of {what}", scale)
            for k, gradient in enumerate(call.backward(found["dy"], cache, impl)):
                if f"grad{k}" in found:
                    assert_close(gradient, found[f"grad{k}"], f"gradient {k} of {what}", scales[k])
            for key, after in _below(found, "after"):
                assert_close(given[int(key)], after, f"argument {key} after {what}")
    return len(recording.specs)


def _replay_network(recording: Recording, impl: str) -> int:
    for dtype in DTYPES:
        model = NETWORKS[recording.name]()[0].set_impl(impl)  # type: ignore[arg-type]
        model.load_state_dict(dict(_below(recording.arrays, "0.state.")))
        model.astype(dtype)
        found = dict(_below(recording.arrays, f"0.{np.dtype(dtype)}."))
        y, cache = model.forward(found["in0"], training=True)
        dx = model.backward(found["dy"], cache)
        assert dx is not None
        assert_close(y, found["y"], "y", 10)
        assert_close(dx, found["grad0"], "dx", 10)
        for name, param in model.named_parameters():
            assert_close(param.grad, found[f"grad.{name}"], name, 10)
        for name, buffer in model.named_buffers():
            if buffer.dtype.kind == "f":
                assert_close(buffer, found[f"after.{name}"], name, 10)
    return 1


def _copy(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.copy()


def _below(arrays: Arrays, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    return ((k.removeprefix(prefix), a) for k, a in arrays.items() if k.startswith(prefix))
