"""A ``torch.autograd.Function`` with its own backward. Its user has imported torch already."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from minicnn.testing.conventions.calls import positional
from minicnn.testing.conventions.subject import Arrays, ContractError, Subject


def torch_module() -> Any:
    """Return torch if it is imported already, else None."""
    return sys.modules.get("torch")


def is_function(thing: Any) -> bool:
    """Return whether ``thing`` is a subclass of torch.autograd.Function."""
    torch = torch_module()
    return torch is not None and isinstance(thing, type) and issubclass(
        thing, torch.autograd.Function
    )  # fmt: skip


def advice(thing: Any) -> str | None:
    """Return the remedy for a function, module or tensor of torch, or None for others."""
    torch = torch_module()
    if torch is None:
        return None
    if isinstance(thing, torch.Tensor):
        return "it is a tensor of torch. Give an array of NumPy: x.detach().cpu().numpy()."
    if isinstance(thing, torch.nn.Module):
        return (
            f"{type(thing).__name__} is a module of torch, which derives its gradients itself. To "
            "compare a layer of yours with it, give it as torch= (--torch on the command line). "
            "A torch.autograd.Function with a backward of your own is checked as it is."
        )
    if (getattr(thing, "__module__", None) and str(thing.__module__).split(".")[0] == "torch") or (
        callable(thing) and type(thing).__name__ == "builtin_function_or_method"
        and any(getattr(m, getattr(thing, "__name__", ""), None) is thing
                for m in (torch, torch.nn.functional))
    ):  # fmt: skip
        return (
            f"{getattr(thing, '__name__', thing)} is a function of torch, which derives its "
            "gradients itself. To compare one of yours with it, give it as torch= (--torch on the "
            "command line)."
        )
    return None


class AutogradSubject(Subject):
    """``forward(ctx, x, ...)`` and ``backward(ctx, dy)``, run by ``apply``."""

    def __init__(self, function: Any, arrays: Arrays, options: Mapping[str, Any]) -> None:
        self.torch, self.function = torch_module(), function
        takes = [p for p in positional(function.forward) if p.name != "ctx"]
        names = [p.name for p in takes]
        own = names[: len(arrays)] + [f"argument {i}" for i in range(len(names), len(arrays))]
        super().__init__(function.__name__, own, arrays, options)
        unknown = options.keys() - set(names)
        if unknown:
            raise TypeError(
                f"gradcheck: {function.__name__}.forward takes no {', '.join(sorted(unknown))}; it "
                f"takes {', '.join(names)}."
            )
        # apply takes positions only: options follow the arrays, in forward's order.
        self._rest = [options.get(p.name, p.default) for p in takes[len(arrays) :]]
        while self._rest and self._rest[-1] is inspect.Parameter.empty:
            self._rest.pop()

    def begin(self) -> None:
        """Restore torch's generator; nothing else is kept between passes."""

    def _tensors(self, arrays: Arrays) -> list[Any]:
        return [
            None if a is None else self.torch.from_numpy(np.array(a, order="C")) for a in arrays
        ]

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        torch = self.torch
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            tensors = self._tensors(arrays)
            for tensor in tensors:
                if tensor is not None and tensor.is_floating_point():
                    tensor.requires_grad_()
            y = self.function.apply(*tensors, *self._rest)
        if isinstance(y, tuple):
            y = y[0]
        if not isinstance(y, torch.Tensor):
            raise ContractError(f"it returned {type(y).__name__} where a tensor is needed.")
        return y.detach().numpy(), (y, tensors)

    def backward(self, dy: np.ndarray, cache: Any) -> Arrays:
        y, tensors = cache
        torch = self.torch
        wanted = [t for t in tensors if t is not None and t.requires_grad]
        if not y.requires_grad:
            raise ContractError("y does not depend on any tensor, as torch sees it.")
        upstream = torch.from_numpy(np.array(dy, order="C"))
        found = iter(torch.autograd.grad(y, wanted, upstream, retain_graph=True, allow_unused=True))
        gradients = [next(found) if t is not None and t.requires_grad else None for t in tensors]
        return tuple(None if g is None else g.detach().numpy() for g in gradients)
