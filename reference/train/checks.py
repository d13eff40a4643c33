"""What is known to be impossible before anything is computed, and what to do instead."""

from __future__ import annotations

from minicnn.run_folder import TrainError
from reference.data import Parts
from reference.presets import Recipe
from reference.train.machine import Machine


def check_machine(recipe: Recipe, machine: Machine) -> None:
    """Raise TrainError where the recipe cannot be followed on this machine."""
    if recipe.precision == "fp16" and not machine.cuda:
        raise TrainError("fp16 needs a GPU. Use --precision bf16 or float32 on the CPU.")
    if recipe.sync_bn and not machine.cuda:
        raise TrainError("PyTorch has batch norm over all processes on GPUs only. Leave it out.")
    shares = machine.size * recipe.accumulate
    if recipe.batch_size % shares:
        more = -(-recipe.batch_size // shares) * shares
        ways = f"{shares} equal parts"
        if machine.size > 1:
            ways += f", {recipe.accumulate} for each of {machine.size} processes"
        raise TrainError(
            f"a batch of {recipe.batch_size} cannot be divided into {ways}. Use for example "
            f"--batch-size {more}."
        )


def check_parts(recipe: Recipe, machine: Machine, parts: Parts) -> None:
    """Raise TrainError where there are too few classes, or too few images for a batch."""
    if len(parts.classes) < 2:
        raise TrainError(
            f"{recipe.data}: there is one class, {parts.classes[0]}. At least two are needed to "
            "tell apart."
        )
    n = len(parts.train)
    if recipe.batch_size > n:
        share = ""
        if machine.size > 1:
            each = recipe.batch_size // machine.size
            share = f" ({each} in each of {machine.size} processes)"
        raise TrainError(
            f"{recipe.data}: a batch of {recipe.batch_size}{share} is larger than the {n} training "
            f"images. Use --batch-size {n // machine.size * machine.size} or less."
        )
