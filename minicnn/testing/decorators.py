"""A test of gradients in one line: the decorated function makes what is checked.

@check_layer(images(channels=3))
def test_scale():
    return Scale(3)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from minicnn.testing.checker import gradcheck
from minicnn.testing.strategies import Call

Make = Callable[[], Any]
Test = Callable[[], None]


def check_op(inputs: st.SearchStrategy[Any], **how: Any) -> Callable[[Make], Test]:
    """Make a test that runs ``gradcheck`` on what the function returns, for drawn inputs.

    The function returns an operation, a loss, or a pair (forward, backward). ``inputs`` draws an
    array; a tuple of arrays, at its end perhaps a dict of options; or a call such as
    ``strategies.conv2d()``. ``how`` is what ``gradcheck`` takes by name. Put
    ``hypothesis.settings`` above for more examples.
    """

    def decorate(make: Make) -> Test:
        @given(drawn=inputs)
        def test(drawn: Any) -> None:
            arrays, options = split(drawn)
            own: dict[str, Any] = {"options": {**options, **how.get("options", {})}}
            if isinstance(drawn, Call):
                own["updates"] = drawn.updates
            gradcheck(make(), *arrays, **{**how, **own})

        return _named_like(make, test)

    return decorate


def check_layer(inputs: st.SearchStrategy[Any], **how: Any) -> Callable[[Make], Test]:
    """Make a test that runs ``gradcheck`` on a layer or network, in training and in inference.

    The function returns the layer; it is called anew for every example. See ``check_op``;
    ``training=True`` or ``False`` keeps to the one.
    """
    modes = st.just(how.pop("training")) if "training" in how else st.booleans()

    def decorate(make: Make) -> Test:
        @given(drawn=inputs, training=modes)
        def test(drawn: Any, training: bool) -> None:
            arrays, options = split(drawn)
            gradcheck(make(), *arrays, options=options, training=training, **how)

        return _named_like(make, test)

    return decorate


def split(drawn: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what was drawn as arrays and options."""
    if isinstance(drawn, Call):
        return drawn.arrays, drawn.options
    if not isinstance(drawn, tuple):
        return (drawn,), {}
    if drawn and isinstance(drawn[-1], dict):
        return drawn[:-1], drawn[-1]
    return drawn, {}


def _named_like(make: Make, test: Any) -> Test:
    # Not functools.wraps: pytest would look through it, at the arguments of `make`.
    test.__name__, test.__qualname__ = make.__name__, make.__qualname__
    test.__module__, test.__doc__ = make.__module__, make.__doc__
    return test
