"""Adam and AdamW. Equal torch.optim.Adam and torch.optim.AdamW.

Rule
    For each number p of a parameter and its gradient g, at step t = 1, 2, ...

        Adam   g[t] = g[t] + weight_decay * p[t]
        AdamW  p[t] = p[t] - lr * weight_decay * p[t]

        m[t]   = beta1 * m[t-1] + (1 - beta1) * g[t]           m[0] = 0
        v[t]   = beta2 * v[t-1] + (1 - beta2) * g[t]*g[t]      v[0] = 0
        mh     = m[t] / (1 - beta1^t)
        vh     = v[t] / (1 - beta2^t)
        p[t+1] = p[t] - lr * mh / (sqrt(vh) + eps)

Why the divisions by 1 - beta^t
    m and v start at 0, so they are too small at first. Under a constant gradient g,
    m[t] = g * (1 - beta1) * sum_{s<t} beta1^s = g * (1 - beta1^t), so mh = g, and likewise
    vh = g*g, from the first step on. Without them the first step would be
    lr * (1-beta1) / sqrt(1-beta2) = 3.2 lr at the default betas; it should be lr.
Why AdamW
    In Adam the decay is a part of g and is divided by sqrt(vh) too. So weights with large gradients
    decay less. AdamW takes the decay out of g; then all weights decay at the same rate.
As it is computed
    With r = sqrt(1 - beta2^t), numerator and denominator times r give the same with one division
    and one pass less (Kingma & Ba, end of section 2):

        p[t+1] = p[t] - lr * r / (1 - beta1^t) * m[t] / (sqrt(v[t]) + eps * r)
Conventions
    eps is added outside the root. t counts the updates of each parameter separately: a parameter
    that was frozen begins at t = 1 when it is released. An m below the smallest normal number
    becomes 0, and then a v as small too, because processors are slow with such numbers (see
    sgd.py).
Source
    Kingma & Ba (2015), Adam: a method for stochastic optimization;
    Loshchilov & Hutter (2019), Decoupled weight decay regularization.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from minicnn.backend import kernel
from minicnn.optim.checks import number
from minicnn.optim.optimizer import Optimizer, Parameters


@kernel
def _descend(data, grad, m, v, rate, beta1, beta2, eps, penalty, shrink):
    """data = shrink*data - rate * m / (sqrt(v) + eps), after m and v are updated."""
    real = data.dtype.type  # float32 stays float32: the options come as Python's float64
    new1, new2 = real(1 - beta1), real(1 - beta2)
    beta1, beta2, rate, eps = real(beta1), real(beta2), real(rate), real(eps)
    penalty, shrink = real(penalty), real(shrink)
    zero, tiny = real(0), np.finfo(real).tiny
    for i in range(data.size):
        g = grad[i] + penalty * data[i]
        mean, square = beta1 * m[i] + new1 * g, beta2 * v[i] + new2 * (g * g)
        m[i] = zero if abs(mean) < tiny else mean
        v[i] = zero if square < tiny and m[i] == 0 else square
        data[i] = shrink * data[i] - rate * m[i] / (np.sqrt(v[i]) + eps)


class Adam(Optimizer):
    """Adam; weight_decay is an L2 penalty, part of the gradient. The module has the rule."""

    remembers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")  # m and v, by torch's names

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.betas = betas
        self.eps = number(self.name, "eps", eps, "Use for example eps=1e-8.")
        self.weight_decay = number(
            self.name, "weight_decay", weight_decay, "Use for example weight_decay=0.01."
        )

    @property
    def betas(self) -> tuple[float, float]:
        """How much of the past stays in the mean of the gradient, and in the mean of its square."""
        return self._betas

    @betas.setter
    def betas(self, betas: tuple[float, float]) -> None:
        hint = "Use for example betas=(0.9, 0.999)."
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{self.name}: betas must be two numbers, got {betas!r}. {hint}")
        self._betas = (
            number(self.name, "betas[0]", betas[0], hint, below=1.0),
            number(self.name, "betas[1]", betas[1], hint, below=1.0),
        )

    @property
    def momentum(self) -> float:
        """beta1, the share of the past in the direction of a step; a schedule may set it."""
        return self._betas[0]

    @momentum.setter
    def momentum(self, momentum: float) -> None:
        self.betas = (momentum, self._betas[1])

    def _decay(self) -> tuple[float, float]:
        """Return the decay added to the gradient, per weight, and the factor of the weight."""
        return self.weight_decay, 1.0

    def _update(self, index: int, data: np.ndarray, grad: np.ndarray) -> None:
        m, v = self._recall(index, data)
        t = self._steps[index] + 1
        beta1, beta2 = self._betas
        root = math.sqrt(1 - beta2**t)
        rate = self._lr * root / (1 - beta1**t)
        penalty, shrink = self._decay()
        _descend(data, grad, m, v, rate, beta1, beta2, self.eps * root, penalty, shrink)
        self._steps[index] = t


class AdamW(Adam):
    """Adam with the weight decay taken out of the gradient. The module has the rule."""

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _decay(self) -> tuple[float, float]:
        return 0.0, 1 - self._lr * self.weight_decay
