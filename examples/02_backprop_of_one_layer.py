# %% [markdown]
# # Backprop of one layer, and how to know that it is right
#
# A gradient is derived on paper, typed in, and then the network trains. So it must be right?
# Below, five networks train, and four of them have a mistake in backward. You could not tell three
# of those four from the right one. So we first derive a layer, then learn how to ask forward
# whether backward is right, and only then write a layer of our own.
#
# Run it with `python examples/02_backprop_of_one_layer.py` (ten seconds). It uses the digits that
# come with scikit-learn; `--data mnist` takes MNIST, and minutes. The pictures go to
# `runs/02_backprop_of_one_layer/`.

# %%
import argparse
import sys
from pathlib import Path

import numpy as np

from minicnn import data, nn, ops, optim, viz
from minicnn.testing import gradcheck
from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty

parser = argparse.ArgumentParser(description="Derive, check and break the gradient of a layer.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
options = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
epochs = 6

folder = Path("runs/02_backprop_of_one_layer")
rng = np.random.default_rng(0)

# %% [markdown]
# ## The derivation
#
# A linear layer takes n samples of i features to o features:
#
#     y[n,o] = bias[o] + sum over i of weight[o,i] * x[n,i]
#
# Somewhere far above stands the loss L, one number. From there comes dy[n,o] = dL/dy[n,o], what L
# does when one output moves. The chain rule asks one question of every number that went in: **which
# outputs does it touch, and how strongly?** Then it adds up, over all it touches.
#
# - weight[o,i] touches y[n,o] for every sample n, by x[n,i]: dweight[o,i] = sum over n of
#   dy[n,o] * x[n,i].
# - bias[o] touches the same outputs, by 1: dbias[o] = sum over n of dy[n,o].
# - x[n,i] touches y[n,o] for every o, by weight[o,i]: dx[n,i] = sum over o of
#   dy[n,o] * weight[o,i].
#
# Two habits keep one from mistakes. Each gradient has the shape of its array; and an index that
# forward spreads over (the bias has no n) is one that backward sums over.


# %%
def forward(x, weight, bias):
    return x @ weight.T + bias, (x, weight)


def backward(dy, cache):
    x, weight = cache
    return dy @ weight, dy.T @ x, dy.sum(axis=0)


# %% [markdown]
# ## Asking forward
#
# Backward claims that x[0,0] moves L by dx[0,0]. Move it and see. For L we need not have a network:
# with any dy, the number L = sum(dy * y) has dL/dy = dy.

# %%
x, weight, bias = (rng.standard_normal(shape) for shape in ((5, 4), (3, 4), 3))
dy = rng.standard_normal((5, 3))
dx, dweight, dbias = backward(dy, forward(x, weight, bias)[1])

step = 1e-3
nudge = np.zeros_like(x)
nudge[0, 0] = step
higher = (dy * forward(x + nudge, weight, bias)[0]).sum()
lower = (dy * forward(x - nudge, weight, bias)[0]).sum()
print(f"dx[0,0] by backward {dx[0, 0]:.10f}, by differences {(higher - lower) / (2 * step):.10f}")
assert abs((higher - lower) / (2 * step) - dx[0, 0]) < 1e-11

# %% [markdown]
# ## How small a step?
#
# A linear layer has no curvature, so any step will do. Let us take a function that bends, softplus,
# y = log(1 + exp(x)), whose derivative is the sigmoid. A derivative is a limit for steps towards 0,
# so the smallest step should be the best. Try it.


# %%
def softplus(x):
    return np.log(1 + np.exp(x))


def sided(x, h):
    return (softplus(x + h) - softplus(x)) / h


def central(x, h):
    return (softplus(x + h) - softplus(x - h)) / (2 * h)


def complex_step(x, h):
    return softplus(x + 1j * h).imag / h


points = np.linspace(-3, 3, 101)
exact = 1 / (1 + np.exp(-points))
steps = np.logspace(-16, 0, 49)
ways = {
    "one side": (sided, np.float64, GREY, ":"),
    "both sides": (central, np.float64, BLUE, "-"),
    "both sides, float32": (central, np.float32, VERMILION, "-"),
    "an imaginary step": (complex_step, np.float64, INK, "--"),
}
figure = empty(7.2, 4.2)
axes = figure.subplots()
best = {}
for name, (way, dtype, colour, style) in ways.items():
    x = points.astype(dtype)
    errors = np.array([np.abs(way(x, dtype(h)) - exact).max() for h in steps])
    best[name] = errors.min(), steps[errors.argmin()]
    axes.loglog(steps, np.maximum(errors, 1e-17), style, color=colour, label=name)
    print(f"{name:20} least error {best[name][0]:.0e}, with a step of {best[name][1]:.0e}")
axes.set_xlabel("step")
axes.set_ylabel("greatest error of the derivative")
axes.legend(frameon=False)
axes.grid(alpha=0.2)
viz.save(figure, folder / "step.png")
assert 1e-9 < best["one side"][0] < 1e-7
assert 1e-12 < best["both sides"][0] < 1e-10
assert 1e-6 < best["both sides"][1] < 1e-4
assert 1e-6 < best["both sides, float32"][0] < 1e-4
assert best["an imaginary step"][0] < 1e-15

# %% [markdown]
# In `step.png` read the curves from the right. At first a smaller step is better: the error falls
# with the step from one side, and with its square from both sides. Then it rises again: two nearly
# equal numbers are subtracted, what remains is their last digits, and those are rounded. From both
# sides the best is some ten digits, with a step near 1e-5; in float32 it is about five, too few to
# tell a small mistake from rounding. **Check gradients in float64, from both sides.**
#
# The dashed line knows no such trouble. Step into the imaginary direction, f(x + ih) = f(x) +
# ih f'(x) + ..., and the derivative stands in the imaginary part. Nothing is subtracted, so nothing
# is lost (Squire & Trapp 1998). It asks of forward only that it takes complex numbers.
#
# ## The checker
#
# `minicnn.testing.gradcheck` does all this, and more, to all arguments.

# %%
arrays = [rng.standard_normal(shape) for shape in ((5, 4), (3, 4), 3)]
print(gradcheck((forward, backward), *arrays))

# %% [markdown]
# The table has a line for each argument: its worst element, by backward and by differences. Two
# more columns are errors of its gradient as a whole, `adjoint` along directions that move all
# elements at once, and `complex step` by the imaginary step. Of more than a hundred elements it
# draws a hundred to look at. (All of it is told in `minicnn/testing/README.md`.)
#
# Now the classic slip, a minus too many:


# %%
def wrong_sign(dy, cache):
    dx, dweight, dbias = backward(dy, cache)
    return -dx, dweight, dbias


report = gradcheck((forward, wrong_sign), *arrays, raises=False)  # by default it raises
print(report)
assert report.causes == ["the sign is wrong."]

# %% [markdown]
# ## But does it matter?
#
# One would notice, surely: the network would not learn. Here are four mistakes people make, each in
# one line. A network of two linear layers with ReLU between them is trained with each.


# %%
class WrongSign(nn.Linear):
    def backward(self, dy, cache, *, input_grad=True):
        return -super().backward(dy, cache)


class TenTimesTooSmall(nn.Linear):
    def backward(self, dy, cache, *, input_grad=True):
        return super().backward(dy, cache) / 10


class ForgottenBias(nn.Linear):
    def backward(self, dy, cache, *, input_grad=True):
        dx, dweight, _ = ops.linear.backward(dy, cache)
        self.weight.add_grad(dweight)
        return dx


class ForgottenReLU(nn.ReLU):
    def backward(self, dy, cache, *, input_grad=True):
        return dy  # as if forward had done nothing


train, _, test = data.load(options.data)
normalization = data.normalization(train)
loader = data.Loader(train, batch_size=32, normalization=normalization, shuffle=True, seed=0)
test_images = data.normalize(test.images, normalization)
loss_function = nn.CrossEntropyLoss()


def learn(last: type[nn.Linear], activation: type[nn.ReLU]) -> tuple[list[float], float]:
    """Return the loss of each epoch, and the accuracy on the test images."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64, rng=rng), activation(), last(64, 10, rng=rng)
    )
    optimizer = optim.Adam(model.parameters())
    curve = []
    for epoch in range(epochs):
        losses = []
        for x, target in loader.batches(epoch):
            optimizer.zero_grad()
            logits, cache = model.forward(x, training=True)
            loss, loss_cache = loss_function.forward(logits, target)
            model.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
            optimizer.step()
            losses.append(float(loss))
        curve.append(float(np.mean(losses)))
    return curve, float((model(test_images).argmax(axis=1) == test.labels).mean())


# %%
mistakes = {
    "none": (nn.Linear, nn.ReLU, GREY, "-"),
    "bias forgotten": (ForgottenBias, nn.ReLU, BLUE, "--"),
    "dx ten times too small": (TenTimesTooSmall, nn.ReLU, VERMILION, ":"),
    "ReLU forgotten": (nn.Linear, ForgottenReLU, INK, "-."),
    "dx with the wrong sign": (WrongSign, nn.ReLU, VERMILION, "-"),
}
curves, accuracies, right = {}, {}, {}
figure = empty(7.2, 4.2)
axes = figure.subplots()
print(f"{'mistake':24}{'test accuracy':15}gradcheck")
for name, (last, activation, colour, style) in mistakes.items():
    curves[name], accuracies[name] = learn(last, activation)
    axes.semilogy(
        range(1, epochs + 1), curves[name], style, color=colour, label=name, linewidth=1.8
    )
    layer = last(4, 3, rng=rng) if last is not nn.Linear else activation()
    report = gradcheck(layer, rng.standard_normal((5, 4)), raises=False)
    right[name] = report.ok
    print(f"{name:24}{accuracies[name]:13.2%}  {'right' if report.ok else report.faults[0].cause}")
axes.set_xlabel("epoch")
axes.set_ylabel("training loss")
axes.legend(frameon=False)
axes.grid(alpha=0.2)
viz.save(figure, folder / "mistakes.png")

# %% [markdown]
# On the digits the right network knows more than nine in ten of the test images. So do the three
# with the first mistakes, to within a point and a half, and one of them may well beat it. In
# `mistakes.png` two mistakes lie on the right curve, and the third runs beside it. Only the sign is
# heard, and even that network ends far above guessing, with a loss that rises at first and falls in
# the end: an engineer in a hurry would tune its learning rate.
#
# Each mistake has its own way of hiding. The bias is hardly needed where all classes are equally
# frequent. Ten times too small is no matter to Adam, which divides each gradient by its own size;
# change to SGD and you have one layer that learns ten times slower. Without ReLU's derivative, 0 or
# 1, the gradient still points roughly the right way (units that jump from 0 to 1, whose derivative
# is 0 nearly everywhere, are trained like this on purpose: Bengio et al. 2013, the straight-through
# estimator). And with the wrong sign, the first layer climbs the loss while the last one descends
# it, and in the end the last one wins.
#
# **Training does not tell whether a gradient is right, and the checker does in a second.**

# %%
assert right == {name: name == "none" for name in mistakes}
if options.data == "digits":
    hidden = ("bias forgotten", "dx ten times too small", "ReLU forgotten")
    assert accuracies["none"] > 0.9
    assert all(abs(accuracies[name] - accuracies["none"]) < 0.015 for name in hidden)
    assert 0.2 < accuracies["dx with the wrong sign"] < 0.8
    of = {name: np.array(curve) / curves["none"] for name, curve in curves.items()}
    assert all((abs(of[name] - 1) < 0.03).all() for name in hidden[:2])
    assert ((of["ReLU forgotten"] > 1.1) & (of["ReLU forgotten"] < 1.6)).all()
    wrong = curves["dx with the wrong sign"]
    assert wrong[1] > wrong[0] > 2 * wrong[-1]

# %% [markdown]
# ## A layer of your own
#
# Let us make softplus an operation. The derivative is the sigmoid, and the formula above will do.


# %%
def softplus_forward(x):
    return np.log(1 + np.exp(x)), x


def softplus_backward(dy, x):
    return dy / (1 + np.exp(-x))


assert gradcheck((softplus_forward, softplus_backward), rng.standard_normal((3, 4))).ok
far = 1000 * rng.standard_normal((3, 4))
print(gradcheck((softplus_forward, softplus_backward), far, raises=False))

# %% [markdown]
# Right, and yet useless at x = 1000: exp overflows. NumPy's `logaddexp`, log(exp(a) + exp(b)), does
# not, and with a = 0 it is ours; the sigmoid can be written with it too. A check is as good as its
# inputs: `minicnn.testing.strategies` draws mean ones.


# %%
def softplus_forward(x):
    return np.logaddexp(0, x), x


def softplus_backward(dy, x):
    return dy * np.exp(-np.logaddexp(0, -x))


assert gradcheck((softplus_forward, softplus_backward), rng.standard_normal((3, 4))).ok
assert gradcheck((softplus_forward, softplus_backward), far).ok

# %% [markdown]
# A depthwise convolution has one kernel for each channel, and what it learns makes it a layer: a
# `Module` with a `Param`. Forward slides windows; backward walks the same windows and asks our
# question: weight[c,r,s] touches y by the window that it is laid on, and each pixel of that window
# touches y by weight[c,r,s]. A pixel lies in many windows, hence the +=.


# %%
class Depthwise(nn.Module):
    def __init__(self, channels: int, kernel: int, *, rng: np.random.Generator) -> None:
        weight = rng.standard_normal((channels, kernel, kernel)) / kernel
        self.weight = nn.Param(weight.astype(np.float32))

    def forward(self, x, *, training):
        weight = self.weight.data
        return sum(weight[:, r, s, None, None] * window for r, s, window in self._windows(x)), x

    def backward(self, dy, x, *, input_grad=True):
        weight, dweight, dx = self.weight.data, np.zeros_like(self.weight.data), np.zeros_like(x)
        for (r, s, window), (_, _, dwindow) in zip(
            self._windows(x), self._windows(dx), strict=True
        ):
            dweight[:, r, s] = (dy * window).sum(axis=(0, 2, 3))
            dwindow += weight[:, r, s, None, None] * dy  # a view: this adds into dx
        self.weight.add_grad(dweight)
        return dx

    def _windows(self, x):
        """Yield r, s and the pixels (n, c, oh, ow) that weight[:, r, s] is laid on."""
        kh, kw = self.weight.data.shape[1:]
        oh, ow = x.shape[2] - kh + 1, x.shape[3] - kw + 1
        for r in range(kh):
            for s in range(kw):
                yield r, s, x[:, :, r : r + oh, s : s + ow]


def grouped(x, weight):
    return ops.conv2d.forward(x, weight[:, None], groups=x.shape[1])[0]


x = rng.standard_normal((2, 3, 6, 5))
report = gradcheck(Depthwise(3, 3, rng=rng), x, equivalent=grouped)
print(report)
assert report.ok

# %% [markdown]
# It also equals `conv2d` with as many groups as channels, which the checker was asked to compare
# with: differences only say that backward fits forward, not that forward is what you meant.
#
# ## Exercises
#
# 1. Write swish, y = x * sigmoid(x), and its backward. Check: `gradcheck` is silent, also at 1000.
# 2. Write y = x - x.mean(axis=0), and claim dx = dy. What does the checker say? Then derive it, by
#    our question: which outputs does x[n,i] touch? It is a third of batch norm (lesson 6).
# 3. Give `Depthwise` a stride. Check by `equivalent=` with `conv2d(..., stride=2)`.
