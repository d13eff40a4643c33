# %% [markdown]
# # Inception, and the use of a convolution of one pixel
#
# A 1x1 convolution looks at a single pixel. It sees no edge, no corner and no neighbour. Why has
# nearly every large network since 2014 used it? We look at what it does and what it saves. Then
# comes a well-known network in which it saves nothing. At the end two computations are equal
# everywhere except at the edges, and you find out why.
#
# Run it with `python examples/07_inception.py`. It takes a quarter of a minute; `--quick` takes
# half of that and learns less. `--data mnist` trains on MNIST, for two minutes. The pictures go to
# `runs/07_inception/`.

# %%
import argparse
from pathlib import Path

import course
import numpy as np
from sklearn.datasets import load_sample_image

import minicnn
from minicnn import data, models, nn, ops, optim, viz
from minicnn.viz import paper

parser = argparse.ArgumentParser(description="1x1 convolutions, and the Inception block.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
parser.add_argument("--quick", action="store_true", help="train for a quarter of the epochs")
options = course.arguments(parser)
folder = Path("runs/07_inception")
rng = np.random.default_rng(0)

# %% [markdown]
# ## A linear layer at every pixel
#
# A 1x1 convolution takes the channels of a pixel, multiplies them by a matrix, and goes on to the
# next pixel. So it *mixes channels*. Below, it turns the red, green and blue of a photograph into
# brightness, red against green, and yellow against blue. The nerves behind our retina do roughly
# the same.

# %%
photograph = load_sample_image("flower.jpg")[::4, ::4]  # (h, w, 3)
x = np.ascontiguousarray(photograph.transpose(2, 0, 1)[None] / 255, np.float32)
mix = np.array([[1 / 3, 1 / 3, 1 / 3], [1, -1, 0], [0.5, 0.5, -1]], np.float32)
y, _ = ops.conv2d.forward(x, mix[:, :, None, None])
course.show(viz.images(photograph[None], ["red, green and blue"]), folder / "photograph.png")
picture = viz.feature_maps(y[0], ["brightness", "red - green", "yellow - blue"], columns=3)
course.show(picture, folder / "channels_mixed.png")

pixels = x.transpose(0, 2, 3, 1)  # (n, h, w, channels): a linear layer takes the last axis
linear, _ = ops.linear.forward(pixels, mix)
same = np.allclose(linear, y.transpose(0, 2, 3, 1), atol=1e-6)
course.claim("a linear layer at every pixel gives the same numbers", same)

# %% [markdown]
# Compare `channels_mixed.png` with `photograph.png`. In the second and the third map the petals are
# positive: they are redder than green, and yellower than blue. The leaves are negative. The sign
# separates petals from leaves, without any shape. And the linear layer gave the same numbers.
#
# We can prove that a 1x1 convolution sees no neighbours. Shuffle all pixels of the photograph. The
# output is the same picture, shuffled in the same way. For a 3x3 convolution this fails.

# %%
h, w = x.shape[2:]
order = rng.permutation(h * w)


def shuffled(image: np.ndarray) -> np.ndarray:
    """Return the pixels of (n, c, h, w) in that order."""
    return image.reshape(*image.shape[:2], h * w)[:, :, order].reshape(image.shape)


three, _ = ops.conv2d.forward(x, np.full((1, 3, 3, 3), 1 / 27, np.float32), padding=1)
three_shuffled, _ = ops.conv2d.forward(
    shuffled(x), np.full((1, 3, 3, 3), 1 / 27, np.float32), padding=1
)
one_shuffled, _ = ops.conv2d.forward(shuffled(x), mix[:, :, None, None])
of_one = np.allclose(one_shuffled, shuffled(y), atol=1e-6)
of_three = np.allclose(three_shuffled, shuffled(three), atol=0.1)
course.claim("a 1x1 convolution does not see that pixels were shuffled", of_one)
course.claim("a 3x3 convolution sees it", not of_three)

# %% [markdown]
# ## The cost
#
# An Inception block has four branches side by side: 1x1, 3x3, 5x5 and a pool. It joins their
# outputs along the channels. So nobody has to decide which size is right. The simple form of this
# block is too expensive. The pool makes it worse, because a pool has as many output channels as
# input channels. So each expensive branch begins with a 1x1 convolution that leaves few channels.
# It is called a bottleneck. `block.svg` draws the block.
#
# The first block of GoogLeNet takes 192 channels of 28x28. Look at its 5x5 branch alone. 32 filters
# on 192 channels are 120 million multiply-adds. With a 1x1 to 16 channels in front, both together
# are 12 million.

# %%
image = (192, 28, 28)
direct = nn.Conv2d(192, 32, 5, padding=2, bias=False, rng=rng)
bottleneck = nn.Sequential(
    nn.Conv2d(192, 16, 1, bias=False, rng=rng),
    nn.ReLU(),
    nn.Conv2d(16, 32, 5, padding=2, bias=False, rng=rng),
)
block = models.googlenet(variant="2014", rng=rng).inception3a
naive = nn.Concat(
    nn.Conv2d(192, 64, 1, rng=rng),
    nn.Conv2d(192, 128, 3, padding=1, rng=rng),
    nn.Conv2d(192, 32, 5, padding=2, rng=rng),
    nn.MaxPool2d(3, 1, padding=1),
)


def parameters(module: nn.Module) -> int:
    return sum(p.data.size for p in module.parameters())


print(f"\n{'of 192 channels, 28 x 28':26} {'parameters':>10} {'multiply-adds':>14}  channels out")
for name, module in {
    "5x5 directly": direct,
    "5x5 behind a bottleneck": bottleneck,
    "the whole block, naive": naive,
    "the whole block, GoogLeNet": block,
}.items():
    out = module.output_shape(image)[0]
    print(f"{name:26} {parameters(module):10,} {module.multiply_adds(image):14,}  {out}")
course.show(viz.diagram(block, image, depth=2), folder / "block.svg")
millions = [round(branch.multiply_adds(image) / 1e6) for branch in (direct, bottleneck)]
course.claim("the 5x5 takes 120 million, with a bottleneck 12", millions == [120, 12], millions)
widths = naive.output_shape(image)[0], block.output_shape(image)[0]
course.claim("the blocks give 416 and 256 channels", widths == (416, 256), widths)
factor = naive.multiply_adds(image) / block.multiply_adds(image)
course.claim("the whole block costs 2.4 times less", 2.3 < factor < 2.5, f"{factor:.2f}")

# %% [markdown]
# The whole block costs 2.4 times less. It gives 256 channels in place of 416, and that saves work
# in every layer behind it.
#
# ## The bottleneck that is not one
#
# PyTorch courses teach Inception with a network for MNIST, `models.inception_mnist`. It has two
# blocks, and these have 1x1 convolutions to 16 channels too. But how many channels do these
# convolutions take? Count.

# %%
model = models.inception_mnist(rng=np.random.default_rng(0))
for name, channels in (("incep1", 10), ("incep2", 20)):
    with_it, without = channels * 16 + 16 * 24 * 25, channels * 24 * 25
    branch = getattr(model, name)
    weights = branch.branch5x5_1.weight.data.size + branch.branch5x5_2.weight.data.size
    print(f"{name}: 5x5 behind 1x1 {with_it:,} weights, directly {without:,}")
    expected = {"incep1": (9760, 6000), "incep2": (9920, 12000)}[name]
    counts = weights, without
    course.claim(f"{name} has {expected} weights", counts == (with_it, without) == expected, counts)

# %% [markdown]
# The first block takes 10 channels and "reduces" them to 16. With its 1x1, the 5x5 branch has 9,760
# weights, where 6,000 would be enough. The second block saves little: 9,920 in place of 12,000. The
# form was copied without its reason.
#
# There is a second problem. In GoogLeNet a ReLU follows each convolution. In the courses' block
# there is nothing between the 1x1 and the 5x5. A linear map after a linear map is one linear map.
# So both together are *a single 5x5 convolution*, with the product of the weights. Let us merge
# them and compare.

# %%
first, second = model.incep1.branch5x5_1, model.incep1.branch5x5_2
w1, w2 = first.weight.data[:, :, 0, 0], second.weight.data  # (16, 10) and (24, 16, 5, 5)
merged = np.einsum("omij,mc->ocij", w2, w1)
bias = second.bias.data + np.einsum("omij,m->o", w2, first.bias.data)

x = rng.standard_normal((8, 10, 12, 12)).astype(np.float32)
two_steps = second(first(x))
one_step, _ = ops.conv2d.forward(x, merged, bias, padding=2)
difference = np.abs(two_steps - one_step)
largest = difference.max(axis=(0, 1))  # (12, 12)
print(f"\nlargest difference {largest.max():.1e}, inside {largest[2:-2, 2:-2].max():.1e}")
picture = viz.matrix(largest, title="largest difference of the two, by pixel", form="{:.2f}")
course.show(picture, folder / "merged.png")
inside, rim = largest[2:-2, 2:-2].max(), largest.max()
course.claim("both are equal inside", inside < 1e-5, f"a difference of {inside:.1g}")
course.claim("both differ at the rim", rim > 0.01, f"a difference of {rim:.1g}")
spread = difference.std(axis=0).max()
course.claim("all images have the same difference", spread < 1e-5, f"a spread of {spread:.1g}")

# %% [markdown]
# In `merged.png` both are equal inside, up to rounding. But they differ at the rim, two pixels
# wide. The difference is the same for every image, and our images are random. The theory is right,
# and so is the code. Find out why before you read on.
#
# The reason is the padding. The 5x5 pads *its* input with zeros. But the 1x1 does not give 0 for a
# black pixel. It gives its bias. So "pad, then 1x1" and "1x1, then pad" differ by that bias,
# wherever the 5x5 reaches over the edge, and it reaches two pixels. Without the bias of the 1x1,
# both are equal everywhere.

# %%
first.bias.data[...] = 0
one_step, _ = ops.conv2d.forward(x, merged, second.bias.data, padding=2)
everywhere = np.allclose(second(first(x)), one_step, atol=1e-5)
course.claim("without the bias both are equal everywhere", everywhere)

# %% [markdown]
# ## It still learns
#
# Now we train the network as the courses teach it. `network.svg` draws it. It has fewer than
# 100,000 parameters. On the digits over 97 % of the test images are right after eight epochs, on
# MNIST over 98 % after two.

# %%
mnist = options.data == "mnist"
epochs, batch_size = (2, 64) if mnist else (3 if options.quick else 8, 32)
train, _, test = data.load(options.data)
normalization = data.normalization(train)
loader = data.Loader(train, batch_size, normalization=normalization, shuffle=True, seed=0)
model = models.inception_mnist(rng=np.random.default_rng(0))
course.show(viz.diagram(model, (1, 28, 28)), folder / "network.svg")
network = minicnn.fuse(model)
loss_function = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters())
schedule = optim.OneCycleLR(max_lr=2e-3, total_steps=epochs * len(loader))
step = 0
for epoch in range(epochs):
    losses = []
    for x, target in loader.batches(epoch):
        schedule.apply(optimizer, step)
        optimizer.zero_grad()
        logits, cache = network.forward(x, training=True)
        loss, loss_cache = loss_function.forward(logits, target)
        network.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
        optimizer.step()
        step += 1
        losses.append(float(loss))
    print(f"epoch {epoch + 1}  loss {np.mean(losses):.4f}")

count = 100 if options.quick else 2000  # of the test images
images, labels = data.normalize(test.images[:count], normalization), test.labels[:count]


def accuracy(silent: str | None = None, channels: slice = slice(0)) -> float:
    """Return the accuracy, with some channels behind one block held at their mean."""
    x = images
    for name, layer in model.named_children():
        x = layer(x)
        if name == silent:
            x = x.copy()
            x[:, channels] = x[:, channels].mean(axis=0)
    return float((x.argmax(axis=1) == labels).mean())


print(f"{parameters(model):,} parameters, test accuracy {accuracy():.2%}")
course.claim("it has under 100,000 parameters", parameters(model) < 100_000, parameters(model))
share = 0.98 if mnist else 0.97
right = options.quick or accuracy() > share
course.claim(f"over {share:.0%} of the test images are right", right, f"{accuracy():.1%}")

# %% [markdown]
# ## Which branch is necessary?
#
# Hold the channels of one branch at their mean over the test images, so that they carry no
# information. Then count how many points of accuracy are lost. Do the same for a whole block.

# %%
branches = {
    "1x1": slice(0, 16), "5x5": slice(16, 40), "3x3, 3x3": slice(40, 64), "pool": slice(64, 88),
    "all four": slice(0, 88),
}  # fmt: skip
blocks = ("incep1", "incep2")
lost = [[100 * (accuracy() - accuracy(b, c)) for c in branches.values()] for b in blocks]
for name, row in zip(blocks, lost, strict=True):
    cells = (f"{branch}: {value:.1f}" for branch, value in zip(branches, row, strict=True))
    print(name, "  ".join(cells))
figure = paper.empty(7.2, 3.4)
axes = figure.subplots()
at = np.arange(len(branches))
for offset, colour, name, row in zip(
    (-0.2, 0.2), (paper.BLUE, paper.VERMILION), blocks, lost, strict=True
):
    bars = axes.bar(at + offset, row, 0.38, color=colour, label=f"without it in {name}")
    axes.bar_label(bars, [f"{value:.1f}" for value in row], fontsize=9, padding=2)
axes.set_xticks(at, list(branches))
axes.axhline(0, color=paper.INK, linewidth=0.8)
axes.set(ylabel="points of accuracy lost", ylim=(-12, 108))
axes.legend(frameon=False, loc="upper left")
axes.spines[["top", "right"]].set_visible(False)
course.show(figure, folder / "branches.png")
for name, row in zip(blocks, lost, strict=True):
    most, bound = max(row[:4]), 40 if mnist else 25 if options.quick else 5
    course.claim(f"no branch of {name} costs over {bound} points", most < bound, f"{most:.1f}")
    enough = row[4] > (70 if options.quick else 80)
    course.claim(f"all branches of {name} cost over 80 points", enough, f"{row[4]:.1f}")
print(f"pictures: {folder}")

# %% [markdown]
# In `branches.png`, a block without all four branches loses more than 80 points, and the network
# can only guess. Without any single branch it loses less than half of that, on the digits less than
# five points. The branches see the same thing in several sizes, so they replace one another. The
# question "which size of kernel is right?" needs no answer. That was the idea of Inception.
#
# ## Exercises
#
# `python -m examples.solutions 7.1` shows the solution of the first exercise and runs it.
#
# 1. Take a 1x1 convolution from $c$ to $r$ channels and a 5x5 from $r$ to $d$. For which $r$ do
#    they have fewer weights than the 5x5 alone? Compute it for the first block here and for
#    GoogLeNet's.
# 2. Put the 1x1 *behind* the 5x5, and a bias into both. Can they be merged exactly, at the edges
#    too?
