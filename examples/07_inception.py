# %% [markdown]
# # Inception, and what a convolution of one pixel is good for
#
# A 1x1 convolution looks at a single pixel. It sees no edge, no corner, no neighbour at all. Why is
# it in nearly every large network since 2014? We shall see what it does, what it saves, a
# well-known network in which it saves nothing, and an equality that holds everywhere but at the
# edges.
#
# Run it with `python examples/07_inception.py` (a quarter of a minute); `--data mnist` trains on
# MNIST, for two minutes. The pictures go to `runs/07_inception/`.

# %%
import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_image

import minicnn
from minicnn import data, models, nn, ops, optim, viz

parser = argparse.ArgumentParser(description="1x1 convolutions, and the Inception block.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
options = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
folder = Path("runs/07_inception")
rng = np.random.default_rng(0)

# %% [markdown]
# ## A linear layer at every pixel
#
# A 1x1 convolution takes the channels of a pixel, multiplies them by a matrix, and goes on to the
# next. So it *mixes channels*. Here a photograph's red, green and blue become brightness, red
# against green, and yellow against blue: roughly what the nerves behind our retina do.

# %%
photograph = load_sample_image("flower.jpg")[::4, ::4]  # (h, w, 3)
x = np.ascontiguousarray(photograph.transpose(2, 0, 1)[None] / 255, np.float32)
mix = np.array([[1 / 3, 1 / 3, 1 / 3], [1, -1, 0], [0.5, 0.5, -1]], np.float32)
y, _ = ops.conv2d.forward(x, mix[:, :, None, None])
viz.save(viz.images(photograph[None], ["red, green and blue"]), folder / "photograph.png")
picture = viz.feature_maps(y[0], ["brightness", "red - green", "yellow - blue"], columns=3)
viz.save(picture, folder / "channels_mixed.png")

pixels = x.transpose(0, 2, 3, 1)  # (n, h, w, channels): a linear layer takes the last axis
linear, _ = ops.linear.forward(pixels, mix)
assert np.allclose(linear, y.transpose(0, 2, 3, 1), atol=1e-6)

# %% [markdown]
# `channels_mixed.png`, beside `photograph.png`: in the second and the third map the petals are
# positive, redder than green and yellower than blue, and the leaves are negative. A sign tells them
# apart, without a look at any shape. And the linear layer gave the same numbers.
#
# That it sees no neighbour can be proved: shuffle all pixels of the photograph. What comes out is
# the same picture, shuffled likewise. A 3x3 convolution is lost.

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
assert np.allclose(one_shuffled, shuffled(y), atol=1e-6)
assert not np.allclose(three_shuffled, shuffled(three), atol=0.1)

# %% [markdown]
# ## The bill
#
# An Inception block has four branches side by side, 1x1, 3x3, 5x5 and a pool, and joins what they
# find along the channels: the network need not decide which size is right. The naive form is too
# dear, and the pool makes it worse, since it cannot have fewer channels than it is given. So each
# dear branch begins with a 1x1 convolution that leaves few channels: a bottleneck.
#
# The first block of GoogLeNet takes 192 channels of 28x28. Its 5x5 branch alone: 32 filters on 192
# channels are 120 million multiply-adds; on 16 channels, and the 1x1 that makes those, 12 million.

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
assert round(direct.multiply_adds(image) / 1e6) == 120
assert round(bottleneck.multiply_adds(image) / 1e6) == 12
assert naive.output_shape(image)[0] == 64 + 128 + 32 + 192 == 416
assert block.output_shape(image)[0] == 256
assert 2.3 < naive.multiply_adds(image) / block.multiply_adds(image) < 2.5

# %% [markdown]
# The block as a whole costs 2.4 times less, and hands on 256 channels in place of 416, for which
# every layer behind it would have to pay.
#
# ## The bottleneck that is none
#
# PyTorch courses teach Inception by a network for MNIST with two blocks, `models.inception_mnist`.
# Its blocks have 1x1 convolutions to 16 channels too. But count: how many channels do they take?

# %%
model = models.inception_mnist(rng=np.random.default_rng(0))
for name, channels in (("incep1", 10), ("incep2", 20)):
    with_it, without = channels * 16 + 16 * 24 * 25, channels * 24 * 25
    branch = getattr(model, name)
    weights = branch.branch5x5_1.weight.data.size + branch.branch5x5_2.weight.data.size
    assert weights == with_it
    print(f"{name}: 5x5 behind 1x1 {with_it:,} weights, directly {without:,}")
    assert (with_it, without) == {"incep1": (9760, 6000), "incep2": (9920, 12000)}[name]

# %% [markdown]
# The first block takes 10 channels and "reduces" them to 16. Behind its 1x1, the 5x5 has 9,760
# weights where 6,000 would do; the second saves little, 9,920 for 12,000. The form was copied
# without its reason.
#
# It gets worse. In GoogLeNet a ReLU follows each convolution. In the courses' block nothing stands
# between the 1x1 and the 5x5, and a linear map after a linear map is one linear map: both together
# are *a single 5x5 convolution*, with the product of the weights. Let us merge them and compare.

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
viz.save(
    viz.matrix(largest, title="largest difference of the two, by pixel", form="{:.2f}"),
    folder / "merged.png",
)
assert largest[2:-2, 2:-2].max() < 1e-5 < 0.01 < largest.max()
assert difference.std(axis=0).max() < 1e-5  # of all images the same

# %% [markdown]
# `merged.png`: inside equal up to rounding, and wrong along a rim of two pixels! It is the same for
# every image, even for random ones as here. The theory is right and so is the code. Before you read
# on, find out why.
#
# The padding is to blame. The 5x5 pads *its* input with zeros. But the 1x1 would not have given 0
# out there: of a black pixel it makes its bias. So "pad, then 1x1" and "1x1, then pad" differ by
# that bias, wherever the 5x5 reaches over the edge, and it reaches two pixels. Without the bias of
# the 1x1, both are equal everywhere.

# %%
first.bias.data[...] = 0
one_step, _ = ops.conv2d.forward(x, merged, second.bias.data, padding=2)
assert np.allclose(second(first(x)), one_step, atol=1e-5)

# %% [markdown]
# ## It learns nevertheless
#
# The network as the courses have it. It has fewer than 100,000 parameters, and on the digits over
# 97 % of the test images are right after eight epochs, on MNIST over 98 % after two.

# %%
mnist = options.data == "mnist"
epochs, batch_size = (2, 64) if mnist else (8, 32)
train, _, test = data.load(options.data)
normalization = data.normalization(train)
loader = data.Loader(train, batch_size, normalization=normalization, shuffle=True, seed=0)
model = models.inception_mnist(rng=np.random.default_rng(0))
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

images = data.normalize(test.images[:2000], normalization)
labels = test.labels[:2000]


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
assert parameters(model) < 100_000
assert accuracy() > (0.98 if mnist else 0.97)

# %% [markdown]
# ## Which branch does it need?
#
# Hold the channels of one branch at their mean over the test images, so that they tell nothing, and
# count what the network gets wrong that it got right before. Silence a whole block: without the
# other branches, does anything remain?

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
viz.save(
    viz.matrix(
        np.array(lost), rows=["first block", "second block"], columns=list(branches),
        title="points of accuracy lost without a branch", form="{:.1f}",
    ),
    folder / "branches.png",
)  # fmt: skip
assert all(max(row[:4]) < (40 if mnist else 5) and row[4] > 80 for row in lost)
print(f"pictures: {folder}")

# %% [markdown]
# `branches.png`: without all four more than 80 points are lost, and nothing but guessing remains.
# Yet without any one branch it is much less than half of that, on the digits less than five. They
# see the same thing in several sizes and stand in for one another. So the question which size of
# kernel is right needs no answer: that was the point of Inception.
#
# ## Try it
#
# 1. A 1x1 convolution from c to r channels and a 5x5 from r to d: for which r does it have fewer
#    weights than the 5x5 alone? (r < 25 c d / (c + 25 d). For c = 10, d = 24 that is at most 9, so
#    16 was too many; for GoogLeNet's c = 192, d = 32 it is at most 154.)
# 2. Put the 1x1 *behind* the 5x5, and a bias into both. Can they be merged exactly? (Yes, at the
#    edges too: nothing is padded after the first bias.)
