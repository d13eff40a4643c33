"""A test of gradients in one line: the decorated function makes the object to check.

@check_layer(images(channels=3))
def test_scale():
    return Scale(3)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minicnn.testing.checker import gradcheck
from minicnn.testing.points import KINDS, Kind
from minicnn.testing.strategies import Call

Make = Callable[[], Any]
Test = Callable[[], None]


def check_op(
    inputs: st.SearchStrategy[Any], *, examples: int | None = None, **how: Any
) -> Callable[[Make], Test]:
    """Make a test that runs ``gradcheck`` on what the function returns, for drawn inputs.

    The function returns an operation, a loss, or a pair (forward, backward).

    Parameters
        inputs    a strategy for an array, for a tuple of arrays (its last entry may be a dict of
                  options), or for a call, such as ``strategies.conv2d()``
        examples  the number of examples; by default hypothesis decides
        how       options of ``gradcheck``
    """
    _check_inputs("check_op", inputs)

    def decorate(make: Make) -> Test:
        def test(drawn: Any, also: list[Kind]) -> None:
            __tracebackhide__ = True
            _check(make, drawn, {"points": also, **how})

        return _as_test(test, make, examples, drawn=inputs, also=_also)

    return decorate


def check_layer(
    inputs: st.SearchStrategy[Any], *, examples: int | None = None, **how: Any
) -> Callable[[Make], Test]:
    """Make a test that runs ``gradcheck`` on a layer or network, in training and in inference.

    The function returns the layer; it is called again for every example. See ``check_op``. With
    ``training=True`` or ``False`` only this mode is checked.
    """
    _check_inputs("check_layer", inputs)
    modes = st.just(how.pop("training")) if "training" in how else st.booleans()

    def decorate(make: Make) -> Test:
        def test(drawn: Any, training: bool, also: list[Kind]) -> None:
            __tracebackhide__ = True
            _check(make, drawn, {"points": also, **how, "training": training})

        return _as_test(test, make, examples, drawn=inputs, training=modes, also=_also)

    return decorate


# One other point for each example is enough, because the examples differ.
_also: st.SearchStrategy[list[Kind]] = st.sampled_from(KINDS).map(lambda kind: [kind])


def split(drawn: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the drawn arrays and options."""
    if isinstance(drawn, Call):
        return drawn.arrays, drawn.options
    if not isinstance(drawn, tuple):
        return (drawn,), {}
    if drawn and isinstance(drawn[-1], dict):
        return drawn[:-1], drawn[-1]
    return drawn, {}


def _check(make: Make, drawn: Any, how: dict[str, Any]) -> None:
    __tracebackhide__ = True
    thing = make()
    if thing is None:
        raise TypeError("the function returned None; did you forget return?")
    arrays, options = split(drawn)
    updates = list(drawn.updates.values()) if isinstance(drawn, Call) else []
    own = {"options": {**options, **how.get("options", {})}}
    gradcheck(thing, *arrays, **{"updates": updates, **how, **own})


def _check_inputs(name: str, inputs: Any) -> None:
    if not isinstance(inputs, st.SearchStrategy):
        raise TypeError(
            f"{name}: inputs must be a strategy, got {inputs!r}. Write @{name}(images()), with "
            "both pairs of parentheses."
        )


def _as_test(test: Any, make: Make, examples: int | None, **drawn: Any) -> Test:
    # Not functools.wraps: pytest would then see the arguments of `make`. The name comes
    # first, for hypothesis keeps what failed under it.
    name = make.__name__ if make.__name__.isidentifier() else "test"  # not <lambda>
    test.__name__, test.__qualname__ = name, make.__qualname__.replace(make.__name__, name)
    test.__module__, test.__doc__ = make.__module__, make.__doc__
    usual = settings()
    quiet = settings(
        max_examples=examples or usual.max_examples,
        deadline=None,  # the first call of a kernel compiles it
        suppress_health_check=[HealthCheck.too_slow],
        phases=[phase for phase in usual.phases if phase != Phase.explain],
    )
    return quiet(given(**drawn)(test))
