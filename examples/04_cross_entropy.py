# %% [markdown]
# # Cross-entropy: the price of being surprised
#
# Nearly every classifier is trained to lower its cross-entropy. Why not simply lower the distance
# between its answer and the truth? We start with a weather report. Then comes an experiment, in
# which distances fail and cross-entropy learns in seconds. At the end stand two tricks that every
# library contains.
#
# Run it with `python examples/04_cross_entropy.py`. It takes a few seconds and has no options. It
# uses the digits that come with scikit-learn. The pictures go to `runs/04_cross_entropy/`.

# %%
import argparse
from pathlib import Path

import course
import numpy as np

from minicnn import data, models
from minicnn.ops import cross_entropy, softmax
from minicnn.viz.paper import BLUE, GREY, VERMILION, empty

parser = argparse.ArgumentParser(description="Cross-entropy against the distances.")
course.arguments(parser)
folder = Path("runs/04_cross_entropy")

# %% [markdown]
# ## Entropy: how many questions?
#
# In a town, half of the days are sunny, a quarter are cloudy, an eighth are rainy and an eighth are
# snowy. A friend there tells you the weather by answers of yes and no. You ask "sunny?" first, then
# "cloudy?", then "rain?". On half of the days one question is enough, on a quarter you need two,
# and on the rest three. A weather of probability $p$ costs $\log_2(1/p)$ questions. (This holds for
# powers of 1/2, as here. For other numbers it holds on average, if you ask for many days together.)
# The mean of these costs is the entropy, in bits:
#
# $$H(p) = \sum_k p_k \log_2 \frac{1}{p_k}$$
#
# Now use an order of questions that is made for another town, $q$. The days still come with the
# probabilities $p$, but each costs $\log_2(1/q)$. The mean cost is the cross-entropy. The part of
# it that the right order would save is the Kullback-Leibler divergence, which is never negative:
#
# $$H(p, q) = \sum_k p_k \log_2 \frac{1}{q_k} \qquad \mathrm{KL}(p, q) = H(p, q) - H(p)$$


# %%
def cost(p, q):
    """Return the cross-entropy of q when p is true, in bits."""
    p, q = np.asarray(p), np.asarray(q)
    happens = p > 0
    with np.errstate(divide="ignore"):  # a weather of probability 0 costs infinitely many questions
        return float((p[happens] * -np.log2(q[happens])).sum())


here = [1 / 2, 1 / 4, 1 / 8, 1 / 8]
print("the questions are made for      bits a day   more than necessary")
for name, believed, bits in (
    ("this town", here, 1.75),
    ("nothing known", [1 / 4, 1 / 4, 1 / 4, 1 / 4], 2),
    ("a town of snow", [1 / 8, 1 / 8, 1 / 4, 1 / 2], 2.625),
    ("a town without snow", [1 / 2, 1 / 4, 1 / 4, 0], np.inf),
):
    found = cost(here, believed)
    print(f"{name:32}{found:10}{found - cost(here, here):16}")
    course.claim(f"questions for {name} cost {bits} bits a day", found == bits, found)

# %% [markdown]
# The right questions cost 1.75 bits, and no questions cost less. Knowing nothing costs a quarter of
# a bit more. Wrong beliefs cost seven eighths more. And if you believe that snow is impossible, you
# ask for ever on the first snowy day. So a classifier must never say that a class is impossible.
# Softmax never says exactly 0 (before rounding; see below).
#
# KL is not a distance, because it depends on the direction. The same two towns are a quarter of a
# bit apart in the other direction.

# %%
snowless = [1 / 2, 1 / 4, 1 / 4, 0]
more = cost(snowless, here) - cost(snowless, snowless)
print(f"a snowless town that asks as we do: {more} bits more")
course.claim("in the other direction it is a quarter of a bit", more == 0.25, more)

# %% [markdown]
# ## As a loss
#
# The truth about an image is $p = 1$ for its class $t$, and 0 for the other classes. Its entropy is
# 0, and only one term of the sum is left: $\log(1/q_t)$. It says **how surprised the network is by
# the right answer.** Now add this over all images. The sum is minus the logarithm of the
# probability of all right answers together. So the least cross-entropy is the maximum likelihood.
# (From here on we use the natural logarithm, as every library does.)
#
# A network that knows nothing about ten classes has a cross-entropy of $\log 10 = 2.303$. This
# gives the cheapest test there is: look at the first loss.

# %%
_, _, test = data.load("digits")
images = data.normalize(test.images, data.normalization(test))
untrained = models.lenet5(rng=np.random.default_rng(0))
first, _ = cross_entropy.forward(untrained(images), test.labels)
print(f"LeNet-5 before training: {first:.3f}; log(10) is {np.log(10):.3f}")
course.claim("log(10) is 2.303", round(np.log(10), 3) == 2.303)
course.claim("the first loss is log(10)", abs(first - np.log(10)) < 0.02, f"{first:.3f}")

# %% [markdown]
# ## Against the distances
#
# Take two classes. The network gives the right class the probability $q$, and the other class
# $1 - q$. There are three losses: the sum of absolute differences, the sum of squares, and the
# cross-entropy. The network learns the logit $z$ of the right class, with $q = 1 / (1 + e^{-z})$.
# So we need the slope of each loss with respect to $z$:
#
# | | absolute | squared | cross-entropy |
# | --- | --- | --- | --- |
# | loss | $2(1 - q)$ | $2(1 - q)^2$ | $\log(1/q)$ |
# | slope | $-2q(1 - q)$ | $-4q(1 - q)^2$ | $-(1 - q)$ |

# %%
q = np.array([0.9, 0.5, 0.1, 0.01, 0.0001])
two = np.stack([np.log(q), np.log(1 - q)], axis=1)  # logits whose softmax is (q, 1 - q)
truth = np.zeros(len(q), np.int64)
target = np.eye(2)[truth]
p, cache = softmax.forward(two)
entropy_loss, entropy_cache = cross_entropy.forward(two, truth, reduction="none")
losses = {
    "absolute": np.abs(p - target).sum(axis=1),
    "squared": ((p - target) ** 2).sum(axis=1),
    "cross-entropy": entropy_loss,
}
slopes = {
    "absolute": softmax.backward(np.sign(p - target), cache)[:, 0],
    "squared": softmax.backward(2 * (p - target), cache)[:, 0],
    "cross-entropy": cross_entropy.backward(np.ones(len(q)), entropy_cache)[:, 0],
}
print(f"{'q of the right class':22}" + "".join(f"{name:>22}" for name in losses))
for i, value in enumerate(q):
    pairs = (f"{losses[name][i]:10.4f} {slopes[name][i]:+11.4f}" for name in losses)
    print(f"{value:<22}" + "".join(pairs))
by_hand = {
    "absolute": -2 * q * (1 - q), "squared": -4 * q * (1 - q) ** 2, "cross-entropy": -(1 - q),
}  # fmt: skip
for name, slope in by_hand.items():
    agrees = np.allclose(slopes[name], slope)
    course.claim(f"the slope of {name} is as in the table", agrees, slopes[name])
last = {name: (round(losses[name][-1], 4), round(slopes[name][-1], 4)) for name in losses}
course.claim("the squared error ends at 1.9996", last["squared"] == (1.9996, -0.0004), last)
course.claim("the cross-entropy ends at 9.21", last["cross-entropy"] == (9.2103, -0.9999), last)

# %%
z = np.linspace(-10, 6, 200)
q = 1 / (1 + np.exp(-z))
styles = {"absolute": (GREY, ":"), "squared": (VERMILION, "--"), "cross-entropy": (BLUE, "-")}
figure = empty(9, 3.8)
left, right = figure.subplots(1, 2)
for name, loss, slope in [
    ("absolute", 2 * (1 - q), -2 * q * (1 - q)),
    ("squared", 2 * (1 - q) ** 2, -4 * q * (1 - q) ** 2),
    ("cross-entropy", -np.log(q), q - 1),
]:
    colour, style = styles[name]
    left.plot(z, loss, style, color=colour, label=name)
    right.plot(z, -slope, style, color=colour)
left.set_ylabel("loss")
right.set_ylabel("pull towards the right class, minus the slope")
left.legend(frameon=False)
for axes in (left, right):
    axes.set_xlabel("logit of the right class")
    axes.grid(alpha=0.2)
course.show(figure, folder / "losses.png")

# %% [markdown]
# Read the last line of the table. The network gives the right class one chance in ten thousand. The
# squared error is 1.9996, nearly its maximum, and its slope is 0.0004. **The more wrong the network
# is, the less it learns.** The cross-entropy is 9.21, and it pulls with 0.9999, nearly its maximum.
#
# Look at the left of `losses.png`. The two distances are flat where the network is certain and
# wrong. The cross-entropy has a slope everywhere. The right of the picture shows the reason. The
# logarithm in the loss cancels the exponential in softmax. What remains is $q - 1$, the error
# itself. The other two losses multiply the error by $q$, and $q$ is nearly 0 when the answer is
# badly wrong.
#
# ## Certain and wrong
#
# Does this happen in practice? We first teach a classifier lies. It is one matrix, and it learns
# that a 0 is a 1, a 1 is a 2, and so on, until it is certain. Then we tell it the truth. Which loss
# can unlearn the lies? To be fair, each loss has three learning rates and shows its best run.

# %%
train, _, _ = data.load("digits")
pixels = train.images[:, 1::2, 1::2].reshape(len(train), -1) / 255  # every other pixel is enough
pixels = np.hstack([pixels, np.ones((len(train), 1))]).astype(np.float32)


def unlearn(loss: str, weight: np.ndarray, labels: np.ndarray, steps: int, lr: float):
    """Return the weights after so many steps of gradient descent, and the accuracy before each."""
    target, accuracy = np.eye(10, dtype=np.float32)[labels], []
    for _ in range(steps):
        logits = pixels @ weight.T
        accuracy.append(float((logits.argmax(axis=1) == train.labels).mean()))
        p, cache = softmax.forward(logits)
        if loss == "cross-entropy":
            dlogits = p - target
        elif loss == "squared":
            dlogits = softmax.backward(2 * (p - target), cache)
        else:
            dlogits = softmax.backward(np.sign(p - target), cache)
        weight = weight - lr / len(train) * (dlogits.T @ pixels)
    return weight, accuracy


lies = (train.labels + 1) % 10
nothing = np.zeros((10, pixels.shape[1]), np.float32)
misled, _ = unlearn("cross-entropy", nothing, lies, steps=100, lr=1)
p, _ = softmax.forward(pixels @ misled.T)
believes, certain = (p.argmax(axis=1) == lies).mean(), p.max(axis=1).mean()
print(f"taught lies: believes {believes:.1%} of them, with a mean probability of {certain:.2f}")
course.claim("it believes over 95 % of the lies", believes > 0.95, f"{believes:.1%}")
course.claim("it is certain, with a mean over 0.85", certain > 0.85, f"{certain:.2f}")

# %%
figure = empty(7.2, 4.2)
axes = figure.subplots()
known, learnt = {}, {}
for loss, (colour, style) in styles.items():
    runs = [unlearn(loss, misled, train.labels, 200, lr) for lr in (0.3, 1, 3)]
    weight, accuracy = max(runs, key=lambda run: run[1][-1])
    guess = (pixels @ weight.T).argmax(axis=1)
    recall = [float((guess[train.labels == k] == k).mean()) for k in range(10)]
    known[loss] = float((guess == train.labels).mean())
    learnt[loss] = sum(share > 0.5 for share in recall)
    print(f"{loss:14} {known[loss]:6.1%} after 200 steps, {learnt[loss]} of 10 digits unlearnt")
    axes.plot(100 * np.array(accuracy), style, color=colour, label=loss)
axes.set_xlabel("steps with the true labels")
axes.set_ylabel("training accuracy, %")
axes.legend(frameon=False)
axes.grid(alpha=0.2)
course.show(figure, folder / "unlearning.png")

# %% [markdown]
# Cross-entropy unlearns all ten lies and knows over 95 % of the images. The squared error has the
# same matrix, the same images and the best of three rates. It knows less than 90 %. The absolute
# difference knows less than half. In `unlearning.png`, the accuracies of these two climb in steps
# of about a tenth, and each step is a digit. The reason: an image whose lie is believed gives
# almost no gradient. The loss has a flat hill there. The images of one digit cross the hill
# together, because the first ones help the others. Cross-entropy has no hill.

# %%
share = known["cross-entropy"]
course.claim("cross-entropy knows over 95 %", share > 0.95, f"{share:.1%}")
course.claim("cross-entropy unlearns ten lies", learnt["cross-entropy"] == 10, learnt)
course.claim("the squared error knows under 90 %", known["squared"] < 0.9, known["squared"])
course.claim("the absolute error knows under half", known["absolute"] < 0.5, known["absolute"])
ordered = learnt["absolute"] < learnt["squared"] < 10
course.claim("the absolute error unlearns the fewest lies", ordered, learnt)

# %% [markdown]
# ## First trick: subtract the maximum
#
# softmax needs $e^z$, and in float32 $e^{89}$ is already infinite. But softmax does not change if
# you add the same number to all logits. So subtract the maximum $m$ of the logits first. The second
# danger is the logarithm of a softmax. At a gap of 200, the probability is $e^{-200}$. In float32
# this is 0, and its logarithm is minus infinity. The remedy is one formula for both together:
#
# $$\log \frac{1}{q_t} = \log \sum_k e^{z_k - m} - (z_t - m)$$

# %%
gap = np.array([[0, 200]], np.float32)
right = np.array([0])
with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
    naive = np.exp(gap) / np.exp(gap).sum()
    p, _ = softmax.forward(gap)
    two_steps = -np.log(p[0, 0])
    patched = -np.log(p[0, 0] + np.float32(1e-12))
loss, cache = cross_entropy.forward(gap, right)
pull = -cross_entropy.backward(1.0, cache)[0, 0]
print(f"softmax by its formula {naive[0]}, with the maximum subtracted {p[0]}")
print(f"its logarithm {two_steps}; of p + 1e-12 {patched:.1f}; cross_entropy {loss}, pull {pull}")
course.claim("exp(89) is infinite in float32", np.log(np.finfo(np.float32).max) < 89)
course.claim("softmax by its formula gives NaN", np.isnan(naive).any(), naive)
course.claim("the logarithm of a softmax is infinite", two_steps == np.inf, two_steps)
course.claim("with 1e-12 added it is 27.6", round(float(patched), 1) == 27.6, patched)
course.claim("cross_entropy gives 200 and pulls with 1", (loss, pull) == (200, 1), (loss, pull))

# %% [markdown]
# Many people remove the infinity by $\log(p + 10^{-12})$. It gives 27.6 for this gap, and for every
# larger gap too. So the loss is flat again where the network is most wrong, and this time our own
# patch is the reason. That is why `cross_entropy` takes logits and not probabilities.
#
# ## Second trick: do not ask for certainty
#
# Cross-entropy has no end. With the targets 1 and 0, every further step of the right logit lowers
# the loss. Label smoothing asks for less: 0.91 for the right class and 0.01 for each of the nine
# others (10 % spread over all ten). A network can reach that.

# %%
gaps = np.linspace(0, 14, 1401)
logits = np.zeros((len(gaps), 10))
logits[:, 3] = gaps
threes = np.full(len(gaps), 3)
plain, _ = cross_entropy.forward(logits, threes, reduction="none")
smooth, _ = cross_entropy.forward(logits, threes, reduction="none", label_smoothing=0.1)
best = gaps[smooth.argmin()]
floor = -(0.91 * np.log(0.91) + 9 * 0.01 * np.log(0.01))
print(f"best gap {best:.2f}, log(0.91 / 0.01) = {np.log(91):.2f}; least loss {smooth.min():.4f}")
in_theory = round(np.log(91), 2)
course.claim("the best gap is log(0.91 / 0.01)", round(best, 2) == in_theory == 4.51, best)
course.claim("the least loss is the entropy", abs(smooth.min() - floor) < 1e-4, smooth.min())
course.claim("the entropy of the target is 0.50", round(floor, 2) == 0.50, floor)
course.claim("without smoothing the loss falls for ever", (np.diff(plain) < 0).all())

figure = empty(7.2, 4)
axes = figure.subplots()
axes.plot(gaps, plain, "--", color=VERMILION, label="target 1 and 0")
axes.plot(gaps, smooth, color=BLUE, label="target 0.91 and 0.01")
axes.axvline(best, color=GREY, linewidth=0.8)
axes.annotate(f"minimum: {best:.2f}", (best, 1.6), xytext=(6, 0), textcoords="offset points")
axes.set(xlabel="logit of the right class above the others", ylabel="loss")
axes.legend(frameon=False)
axes.grid(alpha=0.2)
course.show(figure, folder / "smoothing.png")

# %% [markdown]
# In `smoothing.png`, the dashed loss falls for ever. The other loss has a minimum at a gap of
# $\log(0.91 / 0.01) = 4.51$. There it is 0.50, the entropy of its target, and a cross-entropy
# cannot be lower. You will meet this floor in the training of the next lesson. It does not mean
# that the network fails to learn.
#
# ## Exercises
#
# `python -m examples.solutions 4.1` shows the solution of the first exercise and runs it.
#
# 1. Draw a thousand pairs of distributions and check that KL is never negative. Then prove it with
#    $\log x \le x - 1$.
# 2. Take 1000 classes and the same smoothing. What is the best gap? Check: `cross_entropy.backward`
#    gives 0 there.
# 3. Make the classifier more certain of its lies: unlearn from `3 * misled`. Which loss reaches
#    over 85 % in 200 steps, with all three rates?
