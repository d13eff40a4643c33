# %% [markdown]
# # Pooling, and which networks know that a digit may move
#
# A digit that has moved by a few pixels is the same digit. People say that convolutional networks
# know this, because of pooling. We look at pooling, forward and backward. Then we measure. Three of
# the networks below have convolutions and pooling. When the digit moves by six pixels, one of the
# three forgets nearly everything it knows, and one hardly notices. None of them is invariant in the
# way people say.
#
# Run it with `python examples/03_pooling_and_invariance.py`. It takes half a minute. `--quick`
# takes a third of that, with too little training for the network that takes means. The lesson uses
# the digits that come with scikit-learn; `--data mnist` takes MNIST, and many minutes. The pictures
# go to `runs/03_pooling_and_invariance/`.

# %%
import argparse
from pathlib import Path

import course
import numpy as np

from minicnn import data, nn, optim
from minicnn.ops import avg_pool2d, conv2d, max_pool2d
from minicnn.testing import gradcheck
from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty, shades

parser = argparse.ArgumentParser(description="Move digits and see which networks notice.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
parser.add_argument("--quick", action="store_true", help="two epochs, fewer shifts")
options = course.arguments(parser)
epochs = 2 if options.quick else 8

folder = Path("runs/03_pooling_and_invariance")

# %% [markdown]
# ## One number for four
#
# Pooling replaces each window, here 2x2, by its maximum or by its mean. Backward asks: which pixels
# would have changed the output? For a maximum it is one pixel, the argmax (the position of the
# maximum), so the argmax receives the whole gradient. For a mean it is each of the four, so each
# receives a quarter.

# %%
x = np.array([[1, 3, 2, 2], [4, 2, 2, 2], [0, 0, 5, 6], [0, 0, 8, 7]], np.float64)[None, None]
dy = np.array([[8, 4], [4, 8]], np.float64)[None, None]
largest, max_cache = max_pool2d.forward(x, kernel_size=2)
mean, avg_cache = avg_pool2d.forward(x, kernel_size=2)
to_argmax = max_pool2d.backward(dy, max_cache)
to_all = avg_pool2d.backward(dy, avg_cache)
expected = [[0, 0, 4, 0], [8, 0, 0, 0], [4, 0, 0, 0], [0, 0, 8, 0]]
course.claim("the maxima are 4, 2, 0 and 8", largest.ravel().tolist() == [4, 2, 0, 8], largest)
course.claim("the means are 2.5, 2, 0 and 6.5", mean.ravel().tolist() == [2.5, 2, 0, 6.5], mean)
course.claim("each argmax has the gradient", to_argmax[0, 0].tolist() == expected, to_argmax)
sums = to_argmax.sum(), to_all.sum(), dy.sum()
course.claim("no gradient is lost or doubled", sums == (24, 24, 24), sums)

figure = empty(9, 2.1)
panels = [
    (x, "x"),
    (largest, "maximum"),
    (mean, "mean"),
    (dy, "a gradient dy"),
    (to_argmax, "to the argmax"),
    (to_all, "to all alike"),
]
first = np.argwhere(to_argmax[0, 0])  # the pixels that the maximum was taken from
for axes, (matrix, title) in zip(figure.subplots(1, 6), panels, strict=True):
    axes.imshow(matrix[0, 0], cmap=shades("white", BLUE), vmin=0, vmax=16)
    for (i, j), number in np.ndenumerate(matrix[0, 0]):
        axes.text(j, i, f"{number:g}", ha="center", va="center", fontsize=10, color=INK)
    if matrix is x or matrix is to_argmax:
        axes.scatter(
            first[:, 1], first[:, 0], s=230, marker="s", facecolor="none", edgecolor=VERMILION
        )
    middle = matrix.shape[-1] / 2 - 0.5
    axes.axhline(middle, color=GREY, linewidth=0.8)
    axes.axvline(middle, color=GREY, linewidth=0.8)
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])
course.show(figure, folder / "routing.png")

# %% [markdown]
# In `routing.png`, frames mark the argmax of each window. Look at the window on the upper right. It
# holds four twos. Which one is the argmax? Equal numbers are a tie, and a maximum has no derivative
# there. Each library decides. minicnn and PyTorch take the first in reading order, and it receives
# the whole gradient. The window on the lower left holds four zeros, and its first zero receives the
# 4.
#
# Ties are common, because every blank window is a tie.

# %%
train, _, test = data.load(options.data)
pixels = train.images.reshape(len(train), 14, 2, 14, 2)
highest = pixels.max(axis=(2, 4), keepdims=True)
tied = ((pixels == highest).sum(axis=(2, 4)) > 1).mean()
print(f"windows of 2x2 with a tie: {tied:.0%}")
if options.data == "digits":
    course.claim("over a third of the windows tie", 1 / 3 < tied < 0.4, f"{tied:.1%}")
report = gradcheck(max_pool2d, x, options={"kernel_size": 2}, raises=False)
course.claim("the checker accepts one of two slopes at a tie", report.ok, report)

# %% [markdown]
# Over a third of all windows of the digits are ties. This does no harm. The tied pixels are mostly
# background, and only one thing is important: the gradient is handed on once. It is neither lost
# nor doubled.
#
# ## What convolution promises: equivariance
#
# Move the image, and the feature map moves with it. This holds exactly, because the window does the
# same everywhere. (It holds where the border of the image is blank. Padding does not move with the
# image.)

# %%
rng = np.random.default_rng(0)
margin = 28  # blank pixels all around, so that nothing comes near the border


def moved(images: np.ndarray, right: int, margin: int = margin, down: int = 0) -> np.ndarray:
    """Return (n, h, w, c) on a larger blank canvas, moved by so many pixels."""
    canvas = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return np.roll(canvas, (down, right), axis=(1, 2))


def as_input(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 255


some = test.images[:60]
kernel = rng.standard_normal((8, 1, 5, 5)).astype(np.float32)
here, _ = conv2d.forward(as_input(moved(some, 0)), kernel, padding="same")
there, _ = conv2d.forward(as_input(moved(some, 1)), kernel, padding="same")
apart = np.abs(there[..., 1:] - here[..., :-1]).max()
course.claim("the map moves with the image", apart < 1e-5, f"a difference of {apart:.1g}")

# %% [markdown]
# ## What pooling promises: invariance
#
# Pooling is said to make the answer independent of the position of the digit. Take a network with
# two poolings of 2x2. At its end, take the maximum of each channel over all positions. Surely this
# maximum cannot change when the digit moves? The network is not trained. This is a question of
# arithmetic.


# %%
def trunk(rng: np.random.Generator) -> list[nn.Module]:
    """Return three convolutions with a pooling after the first and after the second."""
    return [
        nn.Conv2d(1, 8, 5, padding=2, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2, rng=rng), nn.ReLU(),
    ]  # fmt: skip


untrained = nn.Sequential(*trunk(rng))
maps = [untrained(as_input(moved(some, right))) for right in range(9)]


def change(features: list[np.ndarray]) -> np.ndarray:
    """Return how much the features at each shift differ from those in place, as a share."""
    norms = np.array([np.linalg.norm(f - features[0]) for f in features])
    return norms / np.linalg.norm(features[0])


pixel_change = change([as_input(moved(some, right)) for right in range(9)])
map_change = change(maps)
max_change = change([m.max(axis=(2, 3)) for m in maps])
mean_change = change([m.mean(axis=(2, 3)) for m in maps])
print("shift in pixels        " + "".join(f"{right:7}" for right in range(9)))
for name, values in {
    "pixels": pixel_change,
    "feature maps": map_change,
    "their maxima": max_change,
    "their means": mean_change,
}.items():
    print(f"changes in {name:12}" + "".join(f"{v:7.1%}" for v in values))

figure = empty(7.2, 4)
axes = figure.subplots()
axes.plot(range(9), 100 * max_change, "o-", color=BLUE)
axes.set(xlabel="digits moved to the right by, pixels", ylabel="change of the channels' maxima, %")
axes.grid(alpha=0.2)
course.show(figure, folder / "invariance.png")

# %% [markdown]
# In `invariance.png`, the maxima change by 5 to 8 %. They come back **exactly to 0 at a shift of
# 4**, and again at 8. A pooling with stride 2 keeps every other position. Move the digit by 2, and
# the windows hold the same pixels as before, one window further on. Move it by 1, and every window
# holds four other pixels. With two poolings, this gives a period of 4. So the network cannot see a
# shift of 4 pixels, and it sees a shift of 1 very well. It is equivariant to whole strides, and to
# nothing in between. (Zhang 2019, Making convolutional networks shift-invariant again, blurs before
# it subsamples.)
#
# The table shows the gain of pooling. Move a digit by one pixel: the pixels change by 24 %, the
# maxima by 6 %, and the means by less than 1 %. But these are the maximum and the mean over *all*
# positions. The maps themselves change more and more as the digit moves further.

# %%
back = max_change[[4, 8]].max()
course.claim("the maxima come back at shifts of 4 and 8", back < 1e-6, f"a change of {back:.1g}")
if options.data == "digits":
    between = max_change[[1, 2, 3, 5, 6, 7]]
    inside = between.min() > 0.05 and between.max() < 0.08
    course.claim("between them they change by 5 to 8 %", inside, np.round(between, 3))
    for what, change_of_one, expected in (
        ("pixels", pixel_change, 0.24),
        ("maxima", max_change, 0.06),
    ):
        value = change_of_one[1]
        near = abs(value - expected) < 0.005
        course.claim(f"the {what} change by {expected:.0%} at a shift of 1", near, f"{value:.1%}")
    course.claim("the means change by less than 1 %", mean_change.max() < 0.01, mean_change.max())
    course.claim("the maps change more and more", (np.diff(map_change) > 0).all(), map_change)

# %% [markdown]
# ## Is it important for a classifier?
#
# Five networks learn digits in the middle of a canvas of 40x40. Then we move the test digits by up
# to 6 pixels: up, down, left and right. Two networks have no convolution. Three have the same
# trunk. They differ in how its 32 maps of 10x10 become ten numbers.

# %%
border = 6
side = 28 + 2 * border  # of the canvas
cells = side // 4  # along a side of a map, after two poolings
centred = data.Dataset("centred", moved(train.images, 0, border), train.labels, train.classes)
scale = data.Normalization((0.0,), data.normalization(centred).std)  # blank stays 0
loader = data.Loader(centred, batch_size=32, normalization=scale, shuffle=True, seed=0)

rng = np.random.default_rng(0)
networks = {
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(side**2, 10, rng=rng)),
    "two linear": nn.Sequential(
        nn.Flatten(), nn.Linear(side**2, 64, rng=rng), nn.ReLU(), nn.Linear(64, 10, rng=rng)
    ),
    "convolutions, linear": nn.Sequential(
        *trunk(rng), nn.Flatten(), nn.Linear(32 * cells**2, 10, rng=rng)
    ),
    "convolutions, mean": nn.Sequential(
        *trunk(rng), nn.AvgPool2d(cells), nn.Flatten(), nn.Linear(32, 10, rng=rng)
    ),
    "convolutions, maximum": nn.Sequential(
        *trunk(rng), nn.MaxPool2d(cells), nn.Flatten(), nn.Linear(32, 10, rng=rng)
    ),
}  # fmt: skip


def learn(model: nn.Module) -> None:
    loss_function = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters())
    schedule = optim.OneCycleLR(max_lr=5e-3, total_steps=epochs * len(loader))  # up, then down
    for step, (x, target) in enumerate(b for epoch in range(epochs) for b in loader.batches(epoch)):
        schedule.apply(optimizer, step)
        optimizer.zero_grad()
        logits, cache = model.forward(x, training=True)
        _, loss_cache = loss_function.forward(logits, target)
        model.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
        optimizer.step()


def accuracy(model: nn.Module, shift: int) -> float:
    """Return the mean over shifts up, down, left and right."""
    hits = []
    for right, down in {(shift, 0), (-shift, 0), (0, shift), (0, -shift)}:
        logits = model(data.normalize(moved(test.images, right, border, down), scale))
        hits.append((logits.argmax(axis=1) == test.labels).mean())
    return float(np.mean(hits))


# %%
shifts = range(0, 7, 6 if options.quick else 1)
styles = [(GREY, ":"), (GREY, "-"), (VERMILION, "-"), (BLUE, "--"), (BLUE, "-")]
figure = empty(8.6, 4.2)
axes = figure.subplots()
known = {}
print(f"{'accuracy at a shift of':24}parameters" + "".join(f"{shift:7}" for shift in shifts))
for (name, model), (colour, style) in zip(networks.items(), styles, strict=True):
    learn(model)
    known[name] = [accuracy(model, shift) for shift in shifts]
    parameters = sum(param.data.size for param in model.parameters())
    print(f"{name:24}{parameters:10,}" + "".join(f"{share:7.1%}" for share in known[name]))
    axes.plot(shifts, 100 * np.array(known[name]), style, marker="o", color=colour, label=name)
axes.axhline(10, color=INK, linewidth=0.8)
axes.text(0, 11, "guessing", fontsize=9)
axes.set(xlabel="digits moved by, pixels", ylabel="test accuracy, %", ylim=(0, 102))
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))  # beside the lines
axes.grid(alpha=0.2)
course.show(figure, folder / "moved_digits.png")

# %% [markdown]
# All five networks know over 90 % of the digits that stand in the middle. Now read
# `moved_digits.png` to the right. At six pixels, the two networks without convolutions know fewer
# than one digit in four. **The network with convolutions, pooling and a linear layer knows hardly
# more**, fewer than one in three. The network with the mean over each map keeps more than half, and
# the network with the maximum keeps more than 80 %.
#
# These three have the same convolutions, and their maps move with the digit. The linear layer has
# its own weights for each position of the map: 32,010 of the network's 48,266 parameters. These
# weights have seen digits at one position only. The maximum ignores the position, and does better
# with 330 weights. **Convolution does not make a network invariant to shifts. Ignoring the position
# does.**
#
# Why does the mean do worse than the maximum? In the table above, the means changed less. But there
# the border was far away. Here the digit reaches the border, and a part of each map is cut off. A
# mean loses with every part. A maximum loses only if its argmax is cut off (exercise 2).
#
# Position is useful in other tasks. Where is the digit? A network for this question must not ignore
# the position. And a network can learn from moved digits what its layers do not give it: see
# exercise 3.

# %%
for name, last, size in (
    ("convolutions, linear", None, 48_266),
    ("convolutions, linear", -2, 32_010),
    ("convolutions, maximum", -2, 330),
):
    count = sum(p.data.size for p in networks[name].parameters()[last:])
    where = "at its end" if last else "in all"
    course.claim(f"{name} has {size:,} parameters {where}", count == size, count)
if options.data == "digits" and not options.quick:
    least = min(shares[0] for shares in known.values())
    course.claim("all know over 90 % in the middle", least > 0.9, f"{least:.1%}")
    bounds = {
        "linear": (0, 1 / 4), "two linear": (0, 1 / 4), "convolutions, linear": (0, 1 / 3),
        "convolutions, mean": (0.5, 1), "convolutions, maximum": (0.8, 1),
    }  # fmt: skip
    for name, (low, high) in bounds.items():
        share = known[name][-1]
        sentence = f"{name} knows {low:.0%} to {high:.0%} at six pixels"
        course.claim(sentence, low < share < high, f"{share:.1%}")

# %% [markdown]
# ## Exercises
#
# `python -m examples.solutions 3.1` shows the solution of the first exercise and runs it.
#
# 1. Give the two poolings of `trunk` a stride of 1. What does `invariance.png` show then? Think
#    before you run it. Check: `max_change` is 0 everywhere. What does it cost?
# 2. Is the border the reason why the mean does worse? Set `border` to 24, and run all cells up to
#    `moved_digits.png`. Check: the mean knows over 90 % at every shift, and at a shift of 4 within
#    half a point as many as at 0. Why at 4? And why not exactly as many? (A unit of the last
#    convolution sees 32 pixels.)
# 3. Teach the second network what its layers do not give it:
#    `data.Loader(..., augment=data.Augment(shift=6))` and 40 epochs. Check: over 60 % at six
#    pixels. What is the price?
