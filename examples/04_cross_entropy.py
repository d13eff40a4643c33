# %% [markdown]
# # Cross-entropy: the price of being surprised
#
# Nearly every classifier is trained to lower its cross-entropy. Why not simply the distance between
# what it says and what is true? We start from a weather report, get to an experiment in which the
# distances fail where the cross-entropy learns in seconds, and end with the two tricks that every
# library has inside.
#
# Run it with `python examples/04_cross_entropy.py` (a few seconds; it has no options). It uses the
# digits that come with scikit-learn. The pictures go to `runs/04_cross_entropy/`.

# %%
import argparse
import sys
from pathlib import Path

import numpy as np

from minicnn import data, models, viz
from minicnn.ops import cross_entropy, softmax
from minicnn.viz.paper import BLUE, GREY, VERMILION, empty

parser = argparse.ArgumentParser(description="Cross-entropy against the distances.")
parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
folder = Path("runs/04_cross_entropy")

# %% [markdown]
# ## Entropy: how many questions?
#
# In a town it is sunny on half of the days, cloudy on a quarter, and it rains or snows on an eighth
# each. A friend there tells you the weather by answers of yes and no. Ask "sunny?" first, then
# "cloudy?", then "rain?": one question on half of the days, two on a quarter, three on the rest.
# Something of probability p costs log2(1/p) questions (where p is a power of 1/2, as here; else in
# the mean, when many days are asked for together), and the mean of that is the entropy,
#
#     H(p) = sum of p * log2(1/p)   bits
#
# Now ask in an order that fits another town, q. Days still come as p says, but cost log2(1/q):
#
#     H(p, q) = sum of p * log2(1/q)   the cross-entropy
#     KL(p, q) = H(p, q) - H(p)        what believing q costs beyond need; never negative


# %%
def cost(p, q):
    """Return the cross-entropy of q when p is true, in bits."""
    p, q = np.asarray(p), np.asarray(q)
    happens = p > 0
    with np.errstate(divide="ignore"):  # what was held impossible costs infinitely many questions
        return float((p[happens] * -np.log2(q[happens])).sum())


here = [1 / 2, 1 / 4, 1 / 8, 1 / 8]
print("the questions are made for      bits a day   more than need be")
for name, believed in {
    "this town": here,
    "nothing known": [1 / 4, 1 / 4, 1 / 4, 1 / 4],
    "a town of snow": [1 / 8, 1 / 8, 1 / 4, 1 / 2],
    "a town without snow": [1 / 2, 1 / 4, 1 / 4, 0],
}.items():
    print(f"{name:32}{cost(here, believed):10}{cost(here, believed) - cost(here, here):16}")
assert cost(here, here) == 1.75
assert cost(here, [1 / 4] * 4) == 2
assert cost(here, [1 / 8, 1 / 8, 1 / 4, 1 / 2]) == 2.625
assert cost(here, [1 / 2, 1 / 4, 1 / 4, 0]) == np.inf

# %% [markdown]
# 1.75 bits is the least possible. Knowing nothing costs a quarter of a bit more, being wrong costs
# seven eighths, and whoever holds snow impossible asks for ever on the first snowy day. So a
# classifier must hold nothing impossible, and softmax never says 0 (before rounding; see below).
# KL is no distance, by the way: in the other direction the same two towns are a quarter apart.

# %%
snowless = [1 / 2, 1 / 4, 1 / 4, 0]
print(
    f"a snowless town asking as we do: {cost(snowless, here) - cost(snowless, snowless)} bits more"
)
assert cost(snowless, here) - cost(snowless, snowless) == 0.25

# %% [markdown]
# ## As a loss
#
# The truth about an image is p = 1 for its class t, and 0 for the others. Its entropy is 0, and of
# the sum one term is left, log(1/q[t]): **how surprised was the network by the right answer?**
# Summed over images it is minus the logarithm of the probability that the network gives to all the
# right answers together, so least cross-entropy is greatest likelihood. (From here on the logarithm
# is the natural one, as in every library.)
#
# A network that knows nothing about ten classes is surprised by log(10) = 2.303. This is the
# cheapest test there is: look at the very first loss.

# %%
_, _, test = data.load("digits")
images = data.normalize(test.images, data.normalization(test))
untrained = models.lenet5(rng=np.random.default_rng(0))
first, _ = cross_entropy.forward(untrained(images), test.labels)
print(f"LeNet-5 before training: {first:.3f}; log(10) is {np.log(10):.3f}")
assert round(np.log(10), 3) == 2.303
assert abs(first - np.log(10)) < 0.02

# %% [markdown]
# ## Against the distances
#
# Two classes; the network gives the right one q, the other 1 - q. Three losses: the sum of absolute
# differences, 2 (1 - q); the sum of squares, 2 (1 - q)^2; and log(1/q). And their slopes with
# respect to the logit z of the right class, q = 1 / (1 + exp(-z)), for that is what is learned:
#
#     absolute  -2 q (1 - q)        squared  -4 q (1 - q)^2        cross-entropy  -(1 - q)

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
np.testing.assert_allclose(slopes["absolute"], -2 * q * (1 - q))
np.testing.assert_allclose(slopes["squared"], -4 * q * (1 - q) ** 2)
np.testing.assert_allclose(slopes["cross-entropy"], -(1 - q))
assert round(losses["squared"][-1], 4) == 1.9996
assert round(losses["cross-entropy"][-1], 2) == 9.21
assert round(slopes["squared"][-1], 4) == -0.0004
assert round(slopes["cross-entropy"][-1], 4) == -0.9999

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
viz.save(figure, folder / "losses.png")

# %% [markdown]
# Read the last line of the table. The network gives the right class one chance in ten thousand. The
# squared error is 1.9996, as bad as it gets, and its slope is 0.0004: **the more wrong the network
# is, the less it is told so.** The cross-entropy is 9.21, and pulls with 0.9999, all its force.
#
# In `losses.png`, on the left, the two distances are flat where the network is surely wrong; the
# cross-entropy is a slope that never ends. On the right is what it comes to: the logarithm in the
# loss undoes the exponential in softmax, and what remains is q - 1, the error itself. The other two
# multiply it by q, which is next to nothing when the answer is badly wrong.
#
# ## Being surely wrong
#
# Does that ever matter? Let us bring up a classifier badly: one matrix, taught that a 0 is a 1, a 1
# is a 2, and so on, until it is sure. Then we tell it the truth and see which loss lets it unlearn.
# So that nobody is wronged, each loss has three learning rates and shows its best.

# %%
train, _, _ = data.load("digits")
pixels = train.images[:, 1::2, 1::2].reshape(len(train), -1) / 255  # every other one will do
pixels = np.hstack([pixels, np.ones((len(train), 1))])


def unlearn(loss: str, weight: np.ndarray, labels: np.ndarray, steps: int, lr: float):
    """Return the weights after so many steps of gradient descent, and the accuracy before each."""
    target, accuracy = np.eye(10)[labels], []
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
nothing = np.zeros((10, pixels.shape[1]))
misled, _ = unlearn("cross-entropy", nothing, lies, steps=100, lr=1)
p, _ = softmax.forward(pixels @ misled.T)
believes, sure = (p.argmax(axis=1) == lies).mean(), p.max(axis=1).mean()
print(f"taught lies: believes {believes:.1%} of them, with a mean probability of {sure:.2f}")
assert believes > 0.95
assert sure > 0.85

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
viz.save(figure, folder / "unlearning.png")

# %% [markdown]
# Cross-entropy unlearns all ten lies and knows over 95 % of the images. With the same matrix, the
# same images and the best of three rates, the squared error knows less than 80 %, and the absolute
# difference less than half. In `unlearning.png` see how these climb: by stairs of about a tenth,
# and each stair is a digit. Where a lie is believed the images hardly pull; only when those of one
# digit have crept over the hill do they help each other down. Cross-entropy has no hill.

# %%
assert known["cross-entropy"] > 0.95
assert learnt["cross-entropy"] == 10
assert known["squared"] < 0.8
assert known["absolute"] < 0.5
assert learnt["absolute"] < learnt["squared"] < 10

# %% [markdown]
# ## First trick: take out the greatest
#
# softmax needs exp(z), and in float32 exp(89) is already infinite. But softmax does not change when
# all logits move by the same number, so the greatest may be moved to 0. And log(softmax) is better
# never taken of a softmax: at a gap of 200 the probability is exp(-200), which float32 holds for 0,
# and its logarithm for minus infinity. Together they are harmless,
# log(1/q[t]) = log(sum of exp(z - greatest)) - (z[t] - greatest).

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
print(f"softmax by its formula {naive[0]}, with the greatest taken out {p[0]}")
print(f"its logarithm {two_steps}; of p + 1e-12 {patched:.1f}; cross_entropy {loss}, pull {pull}")
assert np.log(np.finfo(np.float32).max) < 89
assert np.isnan(naive).any()
assert two_steps == np.inf
assert round(float(patched), 1) == 27.6
assert (loss, pull) == (200, 1)

# %% [markdown]
# Many people mend the infinity with log(p + 1e-12). It gives 27.6 for this gap, and for any greater
# one: once more the loss is flat where the network is most wrong, by a patch of ours this time.
# That is why `cross_entropy` takes logits and no probabilities.
#
# ## Second trick: do not ask for certainty
#
# There is one thing that cross-entropy never has: enough. With target 1 it rewards every further
# step of the right logit, for ever. Label smoothing asks for 0.91 for the right class and 0.01 for
# each of the nine others (10 % spread over all ten), and that a network can reach.

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
assert round(best, 2) == round(np.log(91), 2) == 4.51
assert abs(smooth.min() - floor) < 1e-4
assert round(floor, 2) == 0.50
assert (np.diff(plain) < 0).all()

figure = empty(7.2, 4)
axes = figure.subplots()
axes.plot(gaps, plain, "--", color=VERMILION, label="target 1 and 0")
axes.plot(gaps, smooth, color=BLUE, label="target 0.91 and 0.01")
axes.axvline(best, color=GREY, linewidth=0.8)
axes.annotate(f"enough: {best:.2f}", (best, 1.6), xytext=(6, 0), textcoords="offset points")
axes.set_xlabel("logit of the right class above the others")
axes.set_ylabel("loss")
axes.legend(frameon=False)
axes.grid(alpha=0.2)
viz.save(figure, folder / "smoothing.png")

# %% [markdown]
# In `smoothing.png` the dashed loss falls for ever. The other has a lowest point, at a gap of
# log(0.91 / 0.01) = 4.51, and there it is 0.50, the entropy of its target: the least that a
# cross-entropy can be. Expect that floor in the training of the next lesson, and do not take it for
# a network that fails to learn.
#
# ## Exercises
#
# 1. Draw a thousand pairs of distributions and check that KL is never negative. Then prove it, by
#    log(x) <= x - 1.
# 2. With 1000 classes and the same smoothing, what is the best gap? Check by a zero of
#    `cross_entropy.backward`: log(0.9001 / 0.0001) = 9.11.
# 3. Make the classifier surer of its lies: unlearn from `3 * misled`. Which loss still gets there
#    in 200 steps? Check: cross-entropy above 85 % with all three rates, the others below 50 %.
