"""The command ``minicnn train`` as a function; it also takes network objects and arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import data as images_of
from minicnn import objects
from minicnn.data.arrays import NAME as ARRAYS
from minicnn.models import MODELS, own
from minicnn.nn import Module
from minicnn.recipes import check_options, recipe_for
from minicnn.run_folder import TrainError, folder_name
from minicnn.saved import read_config
from minicnn.train.begin import resume as go_on
from minicnn.train.begin import start
from minicnn.train.progress import follow
from minicnn.train.run import Run

Model = str | Module | Callable[..., Module]
Arrays = tuple[np.ndarray, np.ndarray]


def fit(
    model: Model | None = None,
    data: str | Arrays | images_of.Dataset | images_of.Splits | None = None,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    data_dir: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Train ``model`` on ``data`` as ``minicnn train`` does, and return the run.

    ``model`` is a name (``"lenet5"``, ``"net.py:Net"``), a class or function that makes a network
    from ``rng`` and ``classes``, or a network object, which is then trained itself. ``data`` is a
    name ("digits", the default, "mnist", ...), a pair (images, labels) as for ``data.from_arrays``,
    ``Splits``, or a ``Dataset``, which is divided into three parts. ``options`` are those of
    ``recipes.Recipe``: epochs, batch_size, lr, ...

    The run's folder is ``out``, which must not hold a run yet; without ``out`` it is a new folder
    under runs/. ``resume`` continues the interrupted run in that folder, with its own recipe. A
    network object or arrays must be given again. With ``progress`` it prints the command's lines.

    ``run.model`` has the weights that were best on the validation images. ``run.scores`` are their
    scores on the test images.

    Raises TrainError or DataError as the command does, and Interrupted after Ctrl-C.
    """
    loading = objects.loading()
    if loading is not None:
        raise TrainError(
            f"{loading} starts a training while its network is loaded. Put the training under "
            'if __name__ == "__main__": in that file.'
        )
    if resume is not None:
        run = _resumed(Path(resume), model, data, out, data_dir, options)
    else:
        run = _started(model, data, out, data_dir, options)
    follow(run, bar=progress, tell=progress)
    return run


def _started(
    model: Model | None, data: Any, out: str | Path | None, data_dir: Any, options: dict[str, Any]
) -> Run:
    if model is None:
        raise TrainError("fit: which model? Give its name, a class or function, or a network.")
    name, splits = _data(data, options.get("validation"))
    model = next((known for known, its in MODELS.items() if its.build is model), model)
    kept = None
    if isinstance(model, str):
        if own.is_own(model):
            kept = own.describe(model)
    else:
        kept = own.describe_object(model)
    called = kept.name if kept else str(model)
    recipe = recipe_for(called, name, **options)
    folder = Path("runs", folder_name(called, name)) if out is None else Path(out)
    given = None if isinstance(model, str) else model
    return start(recipe, folder, data_dir, numbered=out is None, model=given, splits=splits)


def _resumed(
    folder: Path,
    model: Model | None,
    data: Any,
    out: str | Path | None,
    data_dir: Any,
    options: dict[str, Any],
) -> Run:
    recipe = read_config(folder).recipe
    if out is not None:
        raise TrainError("fit: out names a new run, resume an old one. Give one of them.")
    check_options(options)
    different = [name for name, value in options.items() if getattr(recipe, name, None) != value]
    if different:
        raise TrainError(
            f"fit: {folder} has its own recipe, which {', '.join(different)} would change. Leave "
            "it out, or start a new run."
        )
    if isinstance(model, str) and not own.is_own(model) and model != recipe.model:
        raise TrainError(f"fit: {folder} is a run of {recipe.model}, not of {model}.")
    name, splits = (recipe.data, None) if data is None else _data(data, recipe.validation)
    if name != recipe.data:
        raise TrainError(f"fit: {folder} is a run on {recipe.data}, not on {name}.")
    return go_on(folder, data_dir, model=model, splits=splits)


def _data(data: Any, validation: float | None) -> tuple[str, images_of.Splits | None]:
    """Return the name of the data; also their three parts if they were not given by name."""
    if data is None or isinstance(data, (str, Path)):
        return ("digits" if data is None else images_of.whole_name(str(data))), None
    if isinstance(data, images_of.Splits):
        return ARRAYS, data
    if isinstance(data, images_of.Dataset):
        return ARRAYS, images_of.divide(data.name, data, validation=validation)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        dataset = images_of.from_arrays(*data)
        return ARRAYS, images_of.divide(ARRAYS, dataset, validation=validation)
    raise TypeError(
        f"fit: data must be a name, a pair (images, labels), a Dataset or Splits, got "
        f"{type(data).__name__}."
    )
