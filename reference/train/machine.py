"""Where a run takes place: the device, and the processes it is spread over.

Under torchrun there are ``size`` processes, each with its ``rank``, and the first, the main one,
writes all files. Else there is one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist

from minicnn.run_folder import TrainError

T = TypeVar("T")

DEVICES = ("auto", "cpu", "cuda")
_PATIENCE = timedelta(hours=2)  # the others wait while the first one reads all images


@dataclass(frozen=True)
class Machine:
    device: torch.device
    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among the processes on this machine
    local_size: int = 1

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

    def first_here(self, function: Callable[[], T]) -> T:
        """Call ``function`` in every process, in the first of each machine before its others.

        So what it fetches or reads at length is there for them. If it raises in one of the first,
        all get that error.
        """
        values: list[T] = []
        failed: Exception | None = None
        if self.local_rank == 0:
            try:
                values.append(function())
            except Exception as error:
                failed = error
        for of_another in self.gather(failed):
            if of_another is not None:
                raise of_another
        return values[0] if values else function()

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
    try:
        store, rank, size = _meet()
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=size,
            timeout=_PATIENCE,
            device_id=device if device.type == "cuda" else None,
        )
    except (RuntimeError, ValueError) as error:
        raise TrainError(
            f"the processes of this run cannot be joined ({str(error).splitlines()[0]}). Start all "
            "of them by torchrun, with machines that reach one another by their names."
        ) from error
    yield Machine(device, rank, size, local, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    dist.destroy_process_group()  # not after an error: the others may never come to it


def leave(code: int) -> int:
    """Return the exit code of a run that failed; of one among others, end the process with it.

    What connects it with the others has threads, which PyTorch may abort by when the interpreter
    ends: https://github.com/pytorch/pytorch/issues/190489
    """
    if dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _meet() -> tuple[dist.Store, int, int]:
    """Return a store for this start of the processes alone, and this one's rank of how many.

    torchrun may keep its store when it starts all again, with the addresses of the dead in it, and
    the agents of several machines may count their starts differently. So the first process gives
    the start a name, and tells it to each other one that asks, until that one has heard it. What
    the dead had asked is answered too, and harms nobody.
    """
    store, rank, size = next(dist.rendezvous("env://", timeout=_PATIENCE))
    own = uuid4().hex
    if rank == 0:
        name = own
        for other in range(1, size):
            while not store.check([f"{name} {other}"]):
                asked = store.get(f"asks {other}").decode()
                store.set(f"answer {asked}", name)
                time.sleep(0.02)
    else:
        store.set(f"asks {rank}", own)
        name = store.get(f"answer {own}").decode()
        store.set(f"{name} {rank}", "heard")
    return dist.PrefixStore(name, store), rank, size


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


def may_restart() -> bool:
    """Return whether torchrun starts all processes again after one has died."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
