"""A trial of a network: does it take such images, score the classes, and go backward?

It runs on a copy, with few images, before a training begins. So a mistake in the user's own network
is reported at once, not after an epoch or never.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np

from minicnn.fused import fuse
from minicnn.models import MODELS, own
from minicnn.nn import Module, Param
from minicnn.objects import said
from minicnn.shapes import ShapeError

Image = tuple[int, int, int]  # channels, height, width
TRIED = 3  # images; an array of two could be mistaken for a pair


class NotLearnt(UserWarning):
    """Some parameters of a network get no gradient in its backward."""


def check_image(name: str, data: str, model: Module, image: Image, classes: int) -> None:
    """Raise ShapeError if the network is not made for the images of ``data``.

    A network of the user's own does not say which images it needs, so it is tried.
    """
    if own.is_own(name):
        check(own.short(name), model, image, classes)
        return
    needed = MODELS[name].image
    try:
        if image[0] != needed[0]:
            raise ShapeError(f"it takes {needed[0]} channels, the images have {image[0]}.")
        model.output_shape(image)
    except ShapeError as error:
        raise ShapeError(
            f"{name} is made for images of {_size(needed)}, those of {data} are "
            f"{_size(image)}: {error} Choose other data by --data, or another network."
        ) from error


def check(name: str, model: Module, image: Image, classes: int) -> None:
    """Raise ShapeError or TypeError if ``model`` cannot learn these classes of such images."""
    _check_found(name, model)
    if not model.parameters():
        raise TypeError(
            f"{name}: it has no parameters, so there is nothing to learn. A parameter is an "
            "attribute made by nn.Param, and a layer an attribute too."
        )
    trial = copy.deepcopy(model)  # fused, as it will run
    x = _images(image)
    with np.errstate(all="ignore"):
        for network in (trial, fuse(trial, inference=True)):
            y, _ = _forward(name, network, x, training=False)
            _gives(name, "inference", y, classes)
        fused = fuse(trial)
        y, cache = _forward(name, fused, x, training=True)
        _gives(name, "training", y, classes)
        _backward(name, fused, y, cache)


def check_forward(name: str, model: Module, image: Image) -> None:
    """Raise ShapeError or TypeError if layers of ``model`` are not found or do not run."""
    _check_found(name, model)
    with np.errstate(all="ignore"):
        _forward(name, copy.deepcopy(model), _images(image), training=False)


def _check_found(name: str, model: Module) -> None:
    hidden = list(_hidden(model))
    if hidden:
        raise TypeError(
            f"{name}: {', '.join(hidden)} keeps layers or parameters where they are not found, so "
            "they would not learn. Make each of them an attribute, or use nn.Sequential."
        )


def _images(image: Image) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((TRIED, *image)).astype(np.float32)


def _forward(name: str, model: Module, x: np.ndarray, *, training: bool):
    size = " x ".join(map(str, x.shape[1:]))
    try:
        result = model.forward(x, training=training)
    except ShapeError as error:
        raise ShapeError(f"{name}: does not take images of {size}: {error}") from error
    except Exception as error:
        raise TypeError(
            f"{name}: its forward fails on images of {size}: {said(error, line=True)}. "
            "The forward of each layer takes (x, *, training) and returns a pair (y, cache)."
        ) from error
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"{name}: its forward returned {_kind(result)} where a pair (y, cache) is needed."
        )
    return result


def _gives(name: str, mode: str, y: object, classes: int) -> None:
    if not isinstance(y, np.ndarray) or y.shape != (TRIED, classes):
        raise ShapeError(
            f"{name}: for {TRIED} images it gives {_kind(y)} in {mode}, and {(TRIED, classes)} is "
            f"needed: a score for each of {classes} classes. Let it take the number of classes as "
            "an argument, classes, and end with as many."
        )
    if y.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: gives {y.dtype}; float32 is needed.")


def _backward(name: str, model: Module, y: np.ndarray, cache: object) -> None:
    learning = {path: p for path, p in model.named_parameters() if p.trainable}
    for param in learning.values():
        param.grad = np.full_like(param.data, -0.0)  # adding any number, also 0, changes the sign
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    try:
        model.backward(dy, cache, input_grad=False)
    except Exception as error:
        raise TypeError(
            f"{name}: its backward fails: {said(error, line=True)}. It is called as "
            "backward(dy, cache, input_grad=...); minicnn gradcheck says more."
        ) from error
    left = [path for path, p in learning.items() if not p.grad.any() and np.signbit(p.grad).all()]
    if not left:
        return
    add = "A backward adds it by param.add_grad(gradient), and minicnn gradcheck checks it."
    if len(left) == len(learning):
        raise TypeError(
            f"{name}: after its backward no parameter has a gradient, so it would learn nothing. "
            + add
        )
    shown = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
    warnings.warn(
        f"{name}: after its backward these parameters have no gradient, so they will not learn: "
        f"{shown}. {add}",
        NotLearnt,
        stacklevel=2,
    )


def _kind(thing: object) -> str:
    if isinstance(thing, np.ndarray):
        return str(thing.shape)
    if isinstance(thing, tuple):
        return f"a tuple of {len(thing)}"
    return type(thing).__name__


def _hidden(model: Module):
    """Yield attributes that hold modules or parameters in a list, a tuple or a dict."""
    for path, module in model.named_modules():
        if type(module).__module__.startswith("minicnn."):
            continue
        for name, value in vars(module).items():
            inside = value.values() if isinstance(value, dict) else value
            if isinstance(value, (dict, list, tuple)) and _any_new(inside, module):
                yield f"{path}.{name}" if path else name


def _any_new(inside, module: Module) -> bool:
    """True if a list holds modules or parameters that are not attributes as well."""
    known = {id(m) for _, m in module.named_modules()} | {id(p) for p in module.parameters()}
    return any(isinstance(v, (Module, Param)) and id(v) not in known for v in inside)


def _size(image: Image) -> str:
    c, h, w = image
    return f"{h} x {w} pixels with {c} channel{'s' if c > 1 else ''}"
