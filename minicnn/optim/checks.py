"""The check of an option that is a number: a learning rate, a momentum, a fraction."""

from __future__ import annotations

import math
from numbers import Real


def number(
    where: str,
    name: str,
    value: object,
    hint: str,
    *,
    least: float = 0.0,
    most: float = math.inf,
    below: float = math.inf,
    above: float = -math.inf,
) -> float:
    """Return ``value`` as a float; raise unless it is finite and within every bound.

    ``least`` and ``most`` are allowed values themselves; ``below`` and ``above`` are not. ``hint``,
    the remedy, ends the message.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{where}: {name} must be a number, got {value!r}. {hint}")
    x = float(value)
    if math.isfinite(x) and least <= x <= most and above < x < below:
        return x
    bounds = [f"more than {above:g}" if above >= least else f"at least {least:g}"]
    if most < math.inf:
        bounds.append(f"at most {most:g}")
    if below < math.inf:
        bounds.append(f"less than {below:g}")
    raise ValueError(f"{where}: {name} must be {' and '.join(bounds)}, got {x:g}. {hint}")
