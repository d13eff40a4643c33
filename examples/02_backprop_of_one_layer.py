# %% [markdown]
# # Backprop of one layer, and how to check it
#
# You derive a gradient on paper, type it in, and the network trains. So the gradient must be right?
# Below, five networks train, and four of them have a mistake in backward. Three of those four look
# just like the right one. So we first derive a layer. Then we use forward to check backward. At the
# end we write a layer of our own.
#
# Run it with `python examples/02_backprop_of_one_layer.py`. It takes about ten seconds. It uses the
# digits that come with scikit-learn; `--data mnist` takes MNIST, and minutes. The pictures go to
# `runs/02_backprop_of_one_layer/`.

# %%
import argparse
from pathlib import Path

import course
import numpy as np

from minicnn import data, nn, ops, optim
from minicnn.testing import gradcheck
from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty

parser = argparse.ArgumentParser(description="Derive, check and break the gradient of a layer.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
options = course.arguments(parser)
folder = Path("runs/02_backprop_of_one_layer")
rng = np.random.default_rng(0)

# %% [markdown]
# ## The derivation
#
# A linear layer takes $N$ samples of some features $i$ to other features $o$:
#
# $$y_{n,o} = b_o + \sum_i w_{o,i} \; x_{n,i}$$
#
# Many layers later stands the loss $L$, one number. From there comes
# $dy_{n,o} = \partial L / \partial y_{n,o}$: how $L$ changes when one output changes. The chain
# rule asks one question of every input number: **which outputs depend on it, and how strongly?**
# Then it adds over all of these outputs.
#
# - The weight $w_{o,i}$ acts on $y_{n,o}$ of every sample $n$, with the factor $x_{n,i}$. So
#   $dw_{o,i} = \sum_n dy_{n,o} \; x_{n,i}$.
# - The bias $b_o$ acts on the same outputs, with the factor 1. So $db_o = \sum_n dy_{n,o}$.
# - The input $x_{n,i}$ acts on $y_{n,o}$ for every $o$, with the factor $w_{o,i}$. So
#   $dx_{n,i} = \sum_o dy_{n,o} \; w_{o,i}$.
#
# Two habits prevent mistakes. First, each gradient has the shape of its array. Second, if forward
# repeats an array along an index, backward sums over that index: the bias has no $n$, so its
# gradient is a sum over $n$.


# %%
def forward(x, weight, bias):
    return x @ weight.T + bias, (x, weight)


def backward(dy, cache):
    x, weight = cache
    return dy @ weight, dy.T @ x, dy.sum(axis=0)


# %% [markdown]
# ## Use forward to check backward
#
# Backward says how much $L$ changes when `x[0, 0]` changes. So change `x[0, 0]` and look. We need
# no network for $L$. Take any array `dy`, and let $L = \sum dy \cdot y$. Then
# $\partial L / \partial y = dy$.

# %%
x, weight, bias, dy = (rng.standard_normal(shape) for shape in ((5, 4), (3, 4), 3, (5, 3)))
dx, dweight, dbias = backward(dy, forward(x, weight, bias)[1])

step = 1e-3
nudge = np.zeros_like(x)
nudge[0, 0] = step
higher, lower = ((dy * forward(x + d, weight, bias)[0]).sum() for d in (nudge, -nudge))
slope = (higher - lower) / (2 * step)
print(f"dx[0,0] by backward {dx[0, 0]:.10f}, by differences {slope:.10f}")
course.claim("backward agrees with the differences", abs(slope - dx[0, 0]) < 1e-11, slope)

# %% [markdown]
# ## How small a step?
#
# A linear layer has no curvature, so every step gives the same slope. Let us take a function with
# curvature, softplus: $y = \log(1 + e^x)$. Its derivative is the sigmoid. A derivative is the limit
# for steps towards 0. So is the smallest step the best? Try it.


# %%
def softplus(x):
    return np.log(1 + np.exp(x))


def sided(x, h):
    return (softplus(x + h) - softplus(x)) / h


def central(x, h):
    return (softplus(x + h) - softplus(x - h)) / (2 * h)


def complex_step(x, h):
    return softplus(x + 1j * h).imag / h


points, steps = np.linspace(-3, 3, 101), np.logspace(-16, 0, 49)
exact = 1 / (1 + np.exp(-points))
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
axes.set(xlabel="step", ylabel="largest error of the derivative")
axes.legend(frameon=False)
axes.grid(alpha=0.2)
course.show(figure, folder / "step.png")
bounds = {
    "one side": (1e-9, 1e-7), "both sides": (1e-12, 1e-10), "both sides, float32": (1e-6, 1e-4),
    "an imaginary step": (0, 1e-15),
}  # fmt: skip
for name, (low, high) in bounds.items():
    error, h = best[name]
    course.claim(f"the least error of {name} is {low:g} to {high:g}", low < error < high, error)
h = best["both sides"][1]
course.claim("the best step of both sides is near 1e-5", 1e-6 < h < 1e-4, f"{h:.0e}")

# %% [markdown]
# Read the curves of `step.png` from right to left. At first a smaller step is better. The error of
# one side falls with the step, and the error of both sides falls with its square. Then the error
# rises again. There, two nearly equal numbers are subtracted. Only their last digits remain, and
# those are rounded. With both sides, the best step is near 1e-5, and about ten digits are right. In
# float32 about five digits are right. That is too few to tell a small mistake from rounding.
# **Check gradients in float64, with both sides.**
#
# The dashed line does not rise. It uses a step in the imaginary direction. In
#
# $$f(x + ih) = f(x) + ih\,f'(x) + \dots$$
#
# the derivative is the imaginary part. Nothing is subtracted, so no digits are lost (Squire & Trapp
# 1998). The only condition is that forward accepts complex numbers.
#
# ## The checker
#
# `minicnn.testing.gradcheck` does all of this, and more, for all arguments.

# %%
x = rng.standard_normal((5, 4))
print(gradcheck((forward, backward), x, weight, bias))

# %% [markdown]
# The table has a line for each argument. It shows the worst element, by backward and by
# differences. Two more columns check the gradient as a whole: `adjoint` along directions that
# change all elements at once, and `complex step` by the imaginary step. If an array has more than a
# hundred elements, the checker draws a hundred of them. (`minicnn/testing/README.md` explains all
# of it.)
#
# Now the classic slip, a wrong minus:


# %%
def wrong_sign(dy, cache):
    dx, dweight, dbias = backward(dy, cache)
    return -dx, dweight, dbias


report = gradcheck((forward, wrong_sign), x, weight, bias, raises=False)  # by default it raises
print(report)
course.claim("the sign is the cause", report.causes == ["the sign is wrong."], report.causes)

# %% [markdown]
# ## But is it important?
#
# Surely one would notice: the network would not learn. Here are four common mistakes, one line
# each. We train a network of two linear layers, with ReLU between them, with each mistake.


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
    first = nn.Linear(784, 64, rng=rng)
    model = nn.Sequential(nn.Flatten(), first, activation(), last(64, 10, rng=rng))
    optimizer = optim.Adam(model.parameters())
    curve = []
    for epoch in range(6):
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
    axes.semilogy(range(1, 7), curves[name], style, color=colour, label=name)
    layer = last(4, 3, rng=rng) if last is not nn.Linear else activation()
    report = gradcheck(layer, rng.standard_normal((5, 4)), raises=False)
    right[name] = report.ok
    print(f"{name:24}{accuracies[name]:13.2%}  {'right' if report.ok else report.faults[0].cause}")
axes.set(xlabel="epoch", ylabel="training loss")
axes.legend(frameon=False)
axes.grid(alpha=0.2)
course.show(figure, folder / "mistakes.png")

# %% [markdown]
# On the digits, the right network gets more than nine in ten test images right. So do the networks
# with the first three mistakes, to within a point and a half, and one of them may even be better.
# In `mistakes.png`, two of the mistakes lie on the right curve, and the third lies close to it.
# Only the wrong sign is visible. Even that network ends far above guessing: its loss rises at first
# and falls in the end. An engineer in a hurry would tune its learning rate.
#
# Each mistake has its own way of hiding.
#
# - The bias is hardly needed where all classes are equally frequent.
# - Adam divides each gradient by its own size, so ten times too small changes nothing. With SGD,
#   one layer would learn ten times slower.
# - Without the derivative of ReLU, 0 or 1, the gradient still points in roughly the right
#   direction. (Units that jump from 0 to 1 have a derivative of 0 nearly everywhere. They are
#   trained in this way on purpose: Bengio et al. 2013, the straight-through estimator.)
# - With the wrong sign, the first layer climbs the loss while the last layer descends it. In the
#   end the last layer wins.
#
# **Training does not show whether a gradient is right. The checker shows it in a second.**

# %%
only_these = right == {name: name == "none" for name in mistakes}
course.claim("the checker finds each mistake and nothing else", only_these, right)
if options.data == "digits":
    of = {name: np.array(curve) / curves["none"] for name, curve in curves.items()}
    best_known, wrong = accuracies["none"], "dx with the wrong sign"
    course.claim("the right network knows over 90 %", best_known > 0.9, f"{best_known:.1%}")
    hidden = ("bias forgotten", 0.97, 1.03), ("dx ten times too small", 0.97, 1.03)
    for name, low, high in (*hidden, ("ReLU forgotten", 1.1, 1.6)):
        less, losses = best_known - accuracies[name], of[name]
        course.claim(f"{name} costs under 1.5 points", abs(less) < 0.015, f"{less:.1%}")
        inside = ((low < losses) & (losses < high)).all()
        course.claim(f"the loss with {name} is {low} to {high} times the right one", inside, losses)
    known, curve = accuracies[wrong], curves[wrong]
    course.claim(f"{wrong} ends between 20 and 80 %", 0.2 < known < 0.8, f"{known:.1%}")
    course.claim("its loss rises and then falls", curve[1] > curve[0] > 2 * curve[-1], curve)

# %% [markdown]
# ## A layer of your own
#
# Let us make softplus an operation, by the formula above. Its derivative is the sigmoid.


# %%
def softplus_forward(x):
    return np.log(1 + np.exp(x)), x


def softplus_backward(dy, x):
    return dy / (1 + np.exp(-x))


near, far = rng.standard_normal((3, 4)), 1000 * rng.standard_normal((3, 4))
report = gradcheck((softplus_forward, softplus_backward), near, raises=False)
course.claim("the formula is right near 0", report.ok, report)
print(gradcheck((softplus_forward, softplus_backward), far, raises=False))

# %% [markdown]
# The formula is right, and useless at $x = 1000$: exp overflows. NumPy has `logaddexp`,
# $\log(e^a + e^b)$, which does not overflow. With $a = 0$ it is softplus. The sigmoid can be
# written with it too. A check is only as good as its inputs. That is why
# `minicnn.testing.strategies` draws difficult ones.


# %%
def softplus_forward(x):
    return np.logaddexp(0, x), x


def softplus_backward(dy, x):
    return dy * np.exp(-np.logaddexp(0, -x))


for inputs, what in ((near, "near 0"), (far, "at numbers around 1000")):
    report = gradcheck((softplus_forward, softplus_backward), inputs, raises=False)
    course.claim(f"the stable formula is right {what}", report.ok, report)

# %% [markdown]
# A depthwise convolution has one kernel for each channel. It learns, so it is a layer: a `Module`
# with a `Param`. Forward slides windows, and backward walks over the same windows. It asks our
# question twice. Which outputs depend on `weight[c, r, s]`? Those of its channel, each with the
# factor of the pixel under it. Which outputs depend on a pixel? Those whose windows hold it, each
# with the factor `weight[c, r, s]`. A pixel lies in many windows, so its gradients add up: that is
# the `+=`.


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
        pairs = zip(self._windows(x), self._windows(dx), strict=True)
        for (r, s, window), (_, _, dwindow) in pairs:
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
report = gradcheck(Depthwise(3, 3, rng=rng), x, equivalent=grouped, raises=False)
print(report)
course.claim("the depthwise layer is right", report.ok, report)

# %% [markdown]
# The checker also compared the layer with `conv2d` with as many groups as channels (`equivalent=`).
# Differences show only that backward fits forward. They do not show that forward computes what you
# meant.
#
# ## Exercises
#
# `python -m examples.solutions 2.1` shows the solution of the first exercise and runs it.
#
# 1. Write swish, $y = x \cdot \mathrm{sigmoid}(x)$, and its backward. Check: `gradcheck` passes
#    near 0 and at numbers around 1000.
# 2. Write `y = x - x.mean(axis=0)`, and use `dx = dy` as its backward. What does the checker say?
#    Then derive the right backward by our question: which outputs depend on $x_{n,i}$? (This
#    operation is a third of batch norm, lesson 6.)
# 3. Give `Depthwise` a stride. Check by `equivalent=` with `conv2d(..., stride=2)`.
