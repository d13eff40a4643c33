"""Networks for the tests of the page, beside those of minicnn.models."""

from __future__ import annotations

import numpy as np

from minicnn import nn


def own(*, rng: np.random.Generator) -> nn.Sequential:
    """Return a network as a reader may write it: Residual and Concat, one in the other."""

    def conv(channels: int, out: int, side: int) -> nn.Conv2d:
        return nn.Conv2d(channels, out, side, padding="same", rng=rng)

    return nn.Sequential(
        stem=nn.Conv2d(1, 6, 5, 2, padding=2, rng=rng),
        norm=nn.BatchNorm2d(6),
        act=nn.ReLU(),
        block=nn.Residual(
            nn.Sequential(conv(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 6, 3)),
            activation=nn.ReLU(),
        ),
        views=nn.Concat(
            one=conv(6, 3, 1),
            three=nn.Sequential(conv(6, 2, 1), nn.Residual(conv(2, 2, 3))),
            pool=nn.Sequential(nn.MaxPool2d(3, 1, padding=1), conv(6, 3, 1)),
            same=nn.Sequential(),
        ),
        pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc=nn.Linear(14 * 7 * 7, 10, rng=rng),
    )


def everything(*, rng: np.random.Generator) -> nn.Sequential:
    """Return a network with every operation and option that the page knows."""
    relu = nn.LeakyReLU(0.2)
    return nn.Sequential(
        conv=nn.Conv2d(3, 8, (3, 5), (2, 1), padding=(1, 2), dilation=(2, 1), rng=rng),
        relu=relu,
        grouped=nn.Conv2d(8, 8, 3, padding="same", groups=4, bias=False, rng=rng),
        again=relu,  # a layer that is used twice
        lrn=nn.LocalResponseNorm(4, alpha=0.3, beta=0.6, k=1.5),
        batch=nn.BatchNorm2d(8, track_running_stats=False),
        plain=nn.BatchNorm2d(8, affine=False),
        max=nn.MaxPool2d((3, 2), 2, padding=1, dilation=(2, 1), ceil_mode=True),
        mean=nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False),
        short=nn.Residual(
            nn.Conv2d(8, 12, 3, 2, padding=1, rng=rng), nn.ZeroPadShortcut(8, 12, 2), nn.Tanh()
        ),
        channels=nn.Softmax(dim=1),
        drop=nn.Dropout(0.3, rng=rng),
        over=nn.AvgPool2d(2, 1, divisor_override=3),
        bent=nn.GELU("tanh"),
        grid=nn.AdaptiveAvgPool2d((3, 2)),
        rows=nn.Linear(2, 4, rng=rng),
        flatten=nn.Flatten(),
        hidden=nn.Linear(144, 16, bias=False, rng=rng),
        norm=nn.BatchNorm1d(16),
        gate=nn.GELU(),
        squash=nn.Sigmoid(),
        head=nn.Linear(16, 5, rng=rng),
        log=nn.LogSoftmax(dim=-1),
    )


def scramble(model: nn.Module, rng: np.random.Generator) -> None:
    """Give norms weights and running statistics other than those they begin with."""
    for name, array in model.named_buffers():
        if name.endswith("running_mean"):
            array[...] = rng.normal(0, 0.1, array.shape)
        elif name.endswith("running_var"):
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    for param in model.parameters():
        if param.data.ndim == 1:
            param.data += rng.normal(0, 0.1, param.data.shape).astype(param.data.dtype)
