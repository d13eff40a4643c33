"""Batches of images: which, in which order, moved how, and as which numbers.

The order depends on (seed, epoch) alone, the moves of an image on (seed, epoch, image). So a run
can go on at any batch, with any number of processes and of workers that read ahead.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from minicnn.data import Normalization
from reference.data.parts import Part
from reference.presets import Recipe, shorter_side

Key = tuple[int, int]  # (epoch, image)
Batch = tuple[torch.Tensor, torch.Tensor]  # images as bytes (n, c, h, w), labels


def seed_of(*numbers: int) -> int:
    """Return a seed for PyTorch that depends on all of the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class Pictures(Dataset[Batch]):
    """The images of a part, with a seed moved at random as the recipe says."""

    def __init__(self, part: Part, recipe: Recipe, image: tuple[int, int, int], learn: bool):
        self.part = part
        self.seed = recipe.seed if learn else None
        self.moves = _moves(recipe, image[1:]) if learn else _centre(recipe)

    def __len__(self) -> int:
        return len(self.part)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        chosen = [i for _, i in keys]
        labels = torch.from_numpy(self.part.labels[chosen])
        if self.moves is None and isinstance(self.part.images, torch.Tensor):
            return self.part.images[chosen], labels
        return torch.stack([self._moved(key) for key in keys]), labels

    def __getitem__(self, key: Key) -> Batch:
        images, labels = self.__getitems__([key])
        return images[0], labels[0]

    def _moved(self, key: Key) -> torch.Tensor:
        image = self.part.read(key[1])
        if self.moves is None:
            return image
        if self.seed is not None:
            torch.manual_seed(seed_of(1, self.seed, *key))
        return self.moves(image)


def _moves(recipe: Recipe, size: tuple[int, int]) -> Any:
    moves: list[Any] = []
    if recipe.size:
        moves.append(v2.RandomResizedCrop(recipe.size, antialias=True))
    if recipe.flip:
        moves.append(v2.RandomHorizontalFlip())
    if recipe.rotate:
        moves.append(v2.RandomRotation(recipe.rotate, v2.InterpolationMode.BILINEAR))
    if recipe.shift:
        moves.append(v2.RandomCrop(size, padding=recipe.shift))
    return v2.Compose(moves) if moves else None


def _centre(recipe: Recipe) -> Any:
    if not recipe.size:
        return None
    resize = v2.Resize(shorter_side(recipe.size), antialias=True)
    return v2.Compose([resize, v2.CenterCrop(recipe.size)])


class Batches(Sampler[list[Key]]):
    """The keys of one process, batch by batch, from batch ``start`` of ``epoch`` on.

    Of each batch of ``batch_size`` images every process has an equal share, in ``parts`` parts of
    equal size. The rest of the images, too few for a batch, is left out.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        seed: int,
        parts: int = 1,
        rank: int = 0,
        size: int = 1,
        limit: int | None = None,
    ) -> None:
        self.n, self.batch_size, self.seed, self.parts = n, batch_size, seed, parts
        self.rank, self.size = rank, size
        self.epoch = self.start = 0
        self.limit = limit

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        whole = self.n // self.batch_size
        return min(whole, self.limit or whole)

    def __len__(self) -> int:
        return (self.steps - self.start) * self.parts

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((0, self.seed, self.epoch)).permutation(self.n).tolist()
        part = self.batch_size // (self.parts * self.size)
        for batch in range(self.start, self.steps):
            first = batch * self.batch_size + self.rank * self.parts * part
            for begin in range(first, first + self.parts * part, part):
                yield [(self.epoch, i) for i in order[begin : begin + part]]


def of_parts(n: int, batch_size: int, rank: int, size: int) -> list[list[Key]]:
    """Return the keys of one process that looks at its share of ``n`` images once, in order."""
    own = range(rank, n, size)
    return [[(0, i) for i in own[k : k + batch_size]] for k in range(0, len(own), batch_size)]


def load_in_batches(pictures: Pictures, batches: Any, workers: int, pin: bool) -> DataLoader[Batch]:
    return DataLoader(
        pictures,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin,
        persistent_workers=workers > 0,
        worker_init_fn=_begin,
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin(worker: int) -> None:
    """Let Ctrl-C be heard by the main process alone, and the end by every worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def normalized(
    images: torch.Tensor, normalization: Normalization, device: torch.device, channels_last: bool
) -> torch.Tensor:
    """Return ``(images/255 - mean) / std`` as float32 on the device."""
    images = images.to(device, non_blocking=True)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    mean, std = _on_device(normalization, device)
    return images.to(torch.float32, memory_format=layout).div_(255).sub_(mean).div_(std)


@cache  # to bring numbers to a GPU, Python waits for all that the GPU has to do before
def _on_device(
    normalization: Normalization, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and std, each (1, c, 1, 1)."""
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        for values in normalization
    )
    return mean, std
