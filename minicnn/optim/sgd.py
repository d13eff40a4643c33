"""Stochastic gradient descent, with momentum. Equals torch.optim.SGD.

Rule
    For each number p of a parameter and its gradient g, at step t = 0, 1, ...

        g[t]   = g[t] + weight_decay * p[t]
        v[t]   = g[0]                                          at t = 0, else
                 momentum * v[t-1] + (1 - dampening) * g[t]
        d[t]   = v[t]                                          or with nesterov
                 g[t] + momentum * v[t]
        p[t+1] = p[t] - lr * d[t]

    Without momentum, d[t] = g[t].
Meaning
    v is a velocity. Under a constant gradient it grows to g / (1 - momentum): with momentum 0.9,
    ten times the step. Nesterov's rule adds the gradient once more, as if the parameter were
    already at the place where the velocity will carry it. weight_decay is the gradient of the
    penalty weight_decay/2 * sum p*p.
Conventions
    As in torch, the velocity is a sum of gradients, and lr multiplies it afterwards. So a change of
    lr acts at once. In Sutskever et al. lr is a factor inside the velocity. The first velocity is
    not dampened. t counts the updates with momentum, for each parameter separately: a parameter
    that was frozen begins at t = 0 when it is released.
    A velocity below the smallest normal number becomes 0. If no gradient arrives (dead units), it
    would shrink to a subnormal number, which rounding then never changes. Processors are many times
    slower with such numbers.
Source
    Polyak (1964), Some methods of speeding up the convergence of iteration methods;
    Nesterov (1983), A method for solving the convex programming problem with convergence rate
    O(1/k^2); Sutskever, Martens, Dahl & Hinton (2013), On the importance of initialization and
    momentum in deep learning.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from minicnn.backend import kernel
from minicnn.optim.checks import number
from minicnn.optim.optimizer import Optimizer, Parameters


@kernel
def _descend(data, grad, lr, weight_decay):
    real = data.dtype.type  # float32 stays float32: the options come as Python's float64
    lr, weight_decay = real(lr), real(weight_decay)
    for i in range(data.size):
        data[i] -= lr * (grad[i] + weight_decay * data[i])


@kernel
def _descend_with_momentum(data, grad, v, lr, momentum, gain, weight_decay, nesterov):
    real = data.dtype.type
    lr, momentum, gain, weight_decay = real(lr), real(momentum), real(gain), real(weight_decay)
    zero, tiny = real(0), np.finfo(real).tiny
    for i in range(data.size):
        g = grad[i] + weight_decay * data[i]
        moving = momentum * v[i] + gain * g
        v[i] = zero if abs(moving) < tiny else moving
        data[i] -= lr * (g + momentum * v[i] if nesterov else v[i])


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum; the module's docstring has the rule.

    Give the options after ``momentum`` by name, because torch has them in another order.
    """

    remembers: ClassVar[tuple[str, ...]] = ("momentum",)

    def __init__(
        self,
        params: Parameters,
        lr: float,
        momentum: float = 0.0,
        *,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        dampening: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.momentum = momentum
        self.weight_decay = number(
            self.name, "weight_decay", weight_decay, "Use for example weight_decay=5e-4."
        )
        self.dampening = number(
            self.name, "dampening", dampening, "With 0 the whole gradient counts.", most=1.0
        )
        self.nesterov = nesterov
        if nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum and no dampening, got momentum={momentum:g} and "
                f"dampening={dampening:g}. Use for example momentum=0.9, dampening=0."
            )
        if self.dampening and self.momentum == 0:
            raise ValueError(
                f"SGD: dampening={dampening:g} acts on the momentum, and there is none. "
                "Use for example momentum=0.9, or leave dampening out."
            )

    @property
    def momentum(self) -> float:
        """How much of the velocity a step keeps; a schedule may set it."""
        return self._momentum

    @momentum.setter
    def momentum(self, momentum: float) -> None:
        self._momentum = number(
            self.name, "momentum", momentum, "Use for example momentum=0.9.", below=1.0
        )

    def _update(self, index: int, data: np.ndarray, grad: np.ndarray) -> None:
        if self._momentum == 0:
            _descend(data, grad, self._lr, self.weight_decay)
            return
        (velocity,) = self._recall(index, data)
        # Before the first update the velocity is 0; with a gain of 1 it becomes g[0].
        gain = 1 - self.dampening if self._steps[index] else 1.0
        _descend_with_momentum(
            data,
            grad,
            velocity,
            self._lr,
            self._momentum,
            gain,
            self.weight_decay,
            self.nesterov,
        )
        self._steps[index] += 1
