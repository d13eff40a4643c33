"""Where a run takes place: the device, and the processes it is spread over.

Under torchrun there are ``size`` processes, each with its ``rank``, and the first, the main one,
writes all files. Else there is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from minicnn.run_folder import TrainError

T = TypeVar("T")

DEVICES = ("auto", "cpu", "cuda")
_PATIENCE = timedelta(hours=2)  # the others wait while the main one reads all images


@dataclass(frozen=True)
class Machine:
    device: torch.device
    rank: int = 0
    size: int = 1
    local_size: int = 1  # processes on this machine

    @property
    def main(self) -> bool:
        return self.rank == 0

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def once(self, function: Callable[[], T]) -> T:
        """Call ``function`` in the main process; all get what it returns, or what it raises."""
        if self.size == 1:
            return function()
        outcome: list[Any] = [None, None]
        if self.main:
            try:
                outcome[0] = function()
            except Exception as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, device=self.device)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def main_first(self, function: Callable[[], T]) -> T:
        """Call ``function`` in every process, in the others when the main one is through."""
        mine: list[T] = []
        self.once(lambda: mine.append(function()))
        return mine[0] if mine else function()

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes; ``tensor`` may be changed."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        values: list[Any] = [value]
        if self.size > 1:
            values = [None] * self.size
            dist.all_gather_object(values, value)
        return values

    def share(self, tensors: Iterator[torch.Tensor]) -> None:
        """Give all processes the values that the main one has."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def lost(self, error: RuntimeError) -> bool:
        """Return whether the error is that another process does not answer."""
        text = str(error).lower()
        told = isinstance(error, dist.DistError) or "gloo" in text or "nccl" in text
        return self.size > 1 and told

    def __str__(self) -> str:
        if self.cuda:
            about = torch.cuda.get_device_properties(self.device)
            text = f"on {self.device}, {about.name} ({about.total_memory / 2**30:.0f} GiB)"
        else:
            threads = torch.get_num_threads()
            text = f"on the CPU, {threads} thread{'s' * (threads > 1)}"
            text += "" if torch.cuda.is_available() else "; there is no GPU that PyTorch can use"
        return text + (f"; {self.size} processes" if self.size > 1 else "")


@contextmanager
def join(demanded: str = "auto") -> Iterator[Machine]:
    """Find the device, and under torchrun the other processes, until the block ends."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = _device(demanded, local)
    if "WORLD_SIZE" not in os.environ:  # torchrun sets it
        yield Machine(device)
        return
    # torchrun may keep its store when it starts all again, with the addresses of the dead in it.
    store, rank, size = next(dist.rendezvous("env://", timeout=_PATIENCE))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore(f"attempt {_restarts()}", store),
        rank=rank,
        world_size=size,
        timeout=_PATIENCE,
        device_id=device if device.type == "cuda" else None,
    )
    yield Machine(device, rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    dist.destroy_process_group()  # not after an error: the others may never come to it


def _device(demanded: str, local: int) -> torch.device:
    there = torch.cuda.is_available()
    if demanded == "cpu" or (demanded == "auto" and not there):
        return torch.device("cpu")
    if not there:
        raise TrainError(
            "a GPU is demanded, and PyTorch finds none. Look whether nvidia-smi shows one and "
            f"whether this PyTorch ({torch.__version__}) is built for CUDA, or leave --device out."
        )
    count = torch.cuda.device_count()
    if local >= count:
        raise TrainError(
            f"process {local} of this machine has no GPU: there are {count}. Start torchrun with "
            f"--nproc-per-node {count} or less, or give --device cpu."
        )
    device = torch.device("cuda", local)
    torch.cuda.set_device(device)
    return device


def restarted() -> bool:
    """Return whether torchrun has started this process again after one had died."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
