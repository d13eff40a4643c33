"""What caused a decision: gradients and experiments with respect to the image.

    saliency     how much the score changes if a pixel changes a little
    grad_cam     which positions of a layer support the class
    occlusion    how much the score falls when a patch is covered: an experiment without gradient
    maximize     the image to which a filter responds most, by gradient ascent

The score is the output of the network: the logit, or the log-probability if the network ends in
log-softmax. Probabilities would not do: where the network is certain, their gradient vanishes.

All functions run in inference. They change neither the network nor the gradients of parameters.

Source
    Simonyan, Vedaldi & Zisserman (2014), Deep inside convolutional networks: visualising image
    classification models and saliency maps.
    Zeiler & Fergus (2014), Visualizing and understanding convolutional networks: occlusion.
    Selvaraju et al. (2017), Grad-CAM: visual explanations from deep networks via gradient-based
    localization.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn.insight.watch import frozen, maps_of, refuse_fused, watching
from minicnn.nn import Module
from minicnn.shapes import ShapeError, check_image, integer

Target = int | Sequence[int] | np.ndarray | None


def saliency(model: Module, x: np.ndarray, target: Target = None) -> np.ndarray:
    """Return (n, h, w): the largest absolute gradient of the score over the channels of a pixel.

    ``x`` is (n, c, h, w). ``target`` is a class, or one class for each image. By default it is the
    class that the network predicts.
    """
    check_image("saliency", "x", x)
    refuse_fused("saliency", model)
    with frozen(model):
        y, cache = model.forward(x, training=False)
        dx = model.backward(_one_hot("saliency", y, target), cache)
    assert dx is not None
    return np.abs(dx).max(axis=1)


def grad_cam(model: Module, x: np.ndarray, layer: str, target: Target = None) -> np.ndarray:
    """Return (n, h', w'), the size of the layer's output: which positions support the class.

    It is a weighted sum of the channels. The weight of a channel is the mean gradient of the score
    with respect to it. Negative sums support other classes, and are set to 0. ``resize`` enlarges
    the map to the size of the image. The usual choice is the last layer before the global pool.
    ``target`` is as for ``saliency``.
    """
    check_image("grad_cam", "x", x)
    with watching(model, layer) as seen, frozen(model):
        y, cache = model.forward(x, training=False)
        maps = maps_of("grad_cam", layer, seen[layer])
        model.backward(_one_hot("grad_cam", y, target), cache)
        weight = seen[layer].dy.mean(axis=(2, 3))
    return np.maximum(np.einsum("nc,nchw->nhw", weight, maps), 0)


def occlusion(
    model: Module,
    x: np.ndarray,
    target: Target = None,
    *,
    size: int = 5,
    stride: int = 1,
    fill: float = 0.0,
    batch: int = 256,
) -> np.ndarray:
    """Return (n, h, w): the fall of the score, averaged over all patches that cover the pixel.

    A square of ``size`` pixels is set to ``fill`` at every ``stride``-th position, and at the last
    position of each row and column. So every pixel is covered (``stride`` is at most ``size``). A
    ``fill`` of 0 is the mean of normalised images. The score is the output for ``target``, as for
    ``saliency``. At most ``batch`` images run at a time.
    """
    check_image("occlusion", "x", x)
    n, _, h, w = x.shape
    size = integer("occlusion", "size", size, 1)
    if integer("occlusion", "stride", stride, 1) > size:
        raise ShapeError(
            f"occlusion: with stride {stride} and size {size}, pixels are never covered. Use a "
            f"stride of at most {size}."
        )
    if size > min(h, w):
        raise ShapeError(f"occlusion: a patch of {size} is larger than images of {h} x {w}.")
    batch = integer("occlusion", "batch", batch, 1)
    y = np.concatenate([model(x[i : i + batch]) for i in range(0, max(n, 1), batch)])
    chosen = _classes("occlusion", y, target)
    places = [
        (i, j) for i in _steps(h, size, stride) for j in _steps(w, size, stride)
    ]  # of the patch's first pixel
    fall, covered = np.zeros((n, h, w), x.dtype), np.zeros((h, w), x.dtype)
    for i, j in places:
        covered[i : i + size, j : j + size] += 1
    for image in range(n):
        for first in range(0, len(places), batch):
            some = places[first : first + batch]
            hidden = np.repeat(x[image : image + 1], len(some), axis=0)
            for one, (i, j) in zip(hidden, some, strict=True):
                one[:, i : i + size, j : j + size] = fill
            scores = model(hidden)[:, chosen[image]]
            for score, (i, j) in zip(scores, some, strict=True):
                fall[image, i : i + size, j : j + size] += y[image, chosen[image]] - score
    return fall / covered


def maximize(
    model: Module,
    layer: str,
    channels: Sequence[int],
    image: tuple[int, int, int],
    *,
    steps: int = 100,
    lr: float = 0.1,
    decay: float = 0.01,
    blur: float = 0.5,
    jitter: int = 2,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return images (len(channels), *image), each of which maximises one channel of the layer.

    Gradient ascent from noise maximises the mean of the channel. It takes ``steps`` steps; ``lr``
    is the root mean square of a step, in units of the input. Ascent alone finds noise that no real
    image has. So each step also

        moves the image by up to ``jitter`` pixels and back     removes what needs exact positions
        blurs it by a Gaussian of ``blur`` pixels               removes fine noise; 0 is no blur
        shrinks it by the factor 1 - ``decay``                  removes what the filter ignores

    In a layer without pixels, each unit is a channel; in the last layer these are the classes.
    """
    channels = [integer("maximize", "channels", c, 0) for c in channels]
    if not channels:
        raise ShapeError("maximize: channels is empty. Name at least one channel of the layer.")
    for name, value in (("lr", lr), ("decay", decay), ("blur", blur)):
        if value < 0:
            raise ValueError(f"maximize: {name} must not be negative, got {value}.")
    dtype = next((param.data.dtype for param in model.parameters()), np.dtype(np.float32))
    x = (0.1 * rng.standard_normal((len(channels), *image))).astype(dtype)
    with frozen(model):
        for _ in range(integer("maximize", "steps", steps, 0)):
            shift = tuple(rng.integers(-jitter, jitter + 1, 2)) if jitter else (0, 0)
            moved = np.roll(x, shift, axis=(2, 3))
            dx = _ascent(model, layer, channels, moved)
            dx = np.roll(dx, (-shift[0], -shift[1]), axis=(2, 3))
            norm = np.sqrt((dx**2).mean(axis=(1, 2, 3), keepdims=True))
            x = x + lr * dx / np.maximum(norm, 1e-12)
            x = (1 - decay) * (_blurred(x, blur) if blur else x)
    return x


def gradient_norms(model: Module) -> dict[str, float]:
    """Return the root mean square of each weight's gradient, in the order of the layers.

    Call it after backward. It is a mean, so layers of different sizes can be compared. Only
    parameters with two or more axes count: the weights of convolutions and linear layers.
    """
    return {
        name: float(np.sqrt(np.mean(np.square(param.grad, dtype=np.float64))))
        for name, param in model.named_parameters()
        if param.data.ndim > 1
    }


def resize(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return maps (n, h, w) at another size, interpolated between the nearest four numbers.

    A pixel is a square with its value in the middle, as in torch with align_corners=False.
    """
    if maps.ndim != 3 or not maps.size:
        raise ShapeError(f"resize: maps must be (n, h, w), not empty, got shape {maps.shape}.")
    h, w = (integer("resize", "size", side, 1) for side in size)
    rows, columns = _weights(maps.shape[1], h, maps.dtype), _weights(maps.shape[2], w, maps.dtype)
    return np.asarray(rows @ maps @ columns.T)


# ----------------------------------------------------------------------------------------- helpers


def _classes(op: str, y: np.ndarray, target: Target) -> np.ndarray:
    """Return the class of each image, (n,)."""
    if y.ndim != 2:
        raise ShapeError(f"{op}: the network must give scores (n, classes), got {y.shape}.")
    n, k = y.shape
    if target is None:
        return y.argmax(axis=1)
    chosen = np.asarray(target)
    if chosen.dtype.kind not in "iu" or chosen.shape not in ((), (n,)):
        raise ShapeError(f"{op}: target must be a class, or one for each of {n} images.")
    if (chosen < 0).any() or (chosen >= k).any():
        raise ShapeError(f"{op}: target must be from 0 to {k - 1}, got {target}.")
    return np.broadcast_to(chosen, (n,))


def _one_hot(op: str, y: np.ndarray, target: Target) -> np.ndarray:
    """Return the gradient of each image's score with respect to the output."""
    dy = np.zeros_like(y)
    dy[np.arange(len(y)), _classes(op, y, target)] = 1
    return dy


def _steps(length: int, size: int, stride: int) -> list[int]:
    return sorted({*range(0, length - size + 1, stride), length - size})


def _ascent(model: Module, layer: str, channels: list[int], x: np.ndarray) -> np.ndarray:
    """Return the gradient of the mean of image i's channel ``channels[i]``."""
    with watching(model, layer) as seen:
        y, cache = model.forward(x, training=False)
        inner = seen[layer].y
        if max(channels) >= inner.shape[1]:
            raise ShapeError(
                f"maximize: {layer or 'the network'} has {inner.shape[1]} channels, there is no "
                f"{max(channels)}."
            )
        dy = np.zeros_like(inner)
        dy[np.arange(len(x)), channels] = 1 / inner[0, 0].size
        seen[layer].inject(dy)
        dx = model.backward(np.zeros_like(y), cache)
    assert dx is not None
    return dx


def _blurred(x: np.ndarray, std: float) -> np.ndarray:
    """Return (n, c, h, w) smoothed by a Gaussian. At the border only pixels inside count."""
    for axis in (2, 3):
        p = np.arange(x.shape[axis])
        weight = np.exp(-((p[:, None] - p) ** 2) / (2 * std**2))
        weight = (weight / weight.sum(axis=1, keepdims=True)).astype(x.dtype)
        x = np.moveaxis(np.tensordot(weight, x, axes=(1, axis)), 0, axis)
    return x


def _weights(size: int, out: int, dtype: np.dtype) -> np.ndarray:
    """Return (out, size): the weights of linear interpolation."""
    middle = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
    distance = np.abs(middle[:, None] - np.arange(size))
    return np.maximum(1 - distance, 0).astype(dtype)
