# %% [markdown]
# # VGG and the receptive field: what a unit can see, and what it looks at
#
# A unit of a convolutional network sees a square of the image, its receptive field. How large is
# it, through strides, pools and branches? That follows from the layers alone. And how much does
# each pixel in it matter? That is a gradient: of one unit with respect to the image.
#
# Run it with `python examples/08_receptive_field.py` (some ten seconds; `--quick` takes half). The
# pictures go to `runs/08_receptive_field/`. Nothing is downloaded: the photograph comes with
# scikit-learn.

# %%
import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_image

from minicnn import insight, models, nn, optim, viz

parser = argparse.ArgumentParser(description="Receptive fields, theoretical and effective.")
parser.add_argument("--quick", action="store_true", help="fewer networks, less training")
options = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
folder = Path("runs/08_receptive_field")
rng = np.random.default_rng(0)

# %% [markdown]
# ## Two 3x3 convolutions against one 5x5
#
# VGG's idea: a 3x3 convolution on a 3x3 convolution sees 5x5 pixels, as one 5x5 does, with 18
# weights for each pair of channels instead of 25, 28 % fewer, and with a ReLU more in between.
# Three of them see 7x7 with 27 weights instead of 49, 45 % fewer.

# %%
CHANNELS = 16


def row_of(*kernels: int) -> nn.Sequential:
    """Return convolutions in a row that keep the size."""
    layers = [
        nn.Conv2d(CHANNELS, CHANNELS, k, padding=k // 2, bias=False, rng=rng) for k in kernels
    ]
    return nn.Sequential(*layers)


def weights(model: nn.Module) -> int:
    return sum(param.data.size for param in model.parameters())


for small, large in (((3, 3), 5), ((3, 3, 3), 7)):
    image = (CHANNELS, 32, 32)
    one, several = row_of(large), row_of(*small)
    seen = [insight.receptive_field(model, image)[""].size for model in (one, several)]
    fewer = 1 - weights(several) / weights(one)
    print(
        f"{len(small)} of 3x3 see {seen[1]}, one {large}x{large} sees {seen[0]}; {fewer:.0%} fewer"
    )
    assert seen[0] == seen[1] == (large, large)
    assert weights(several) == len(small) * 9 * CHANNELS**2
    assert weights(one) == large**2 * CHANNELS**2
    assert round(100 * fewer) == {5: 28, 7: 45}[large]

# %% [markdown]
# ## The field of every layer
#
# Let a unit see `size` pixels, and let neighbouring units lie `jump` pixels apart. A window of k
# taps with stride s on top of that sees (k - 1) * jump more, and multiplies the jump by s. With p
# pixels of padding, the first unit begins p * jump earlier. That is all:

# %%
size, jump, start = 1, 1, 0
vgg16 = models.vgg16(10, hidden=16, rng=rng)  # small at its end, where nothing is seen any more
table = insight.receptive_field(vgg16, (3, 224, 224))
for i, layer in enumerate(vgg16.features):
    if isinstance(layer, nn.ReLU):
        continue
    kernel, stride, padding = (3, 1, 1) if isinstance(layer, nn.Conv2d) else (2, 2, 0)
    size += (kernel - 1) * jump
    start -= padding * jump
    jump *= stride
    field = table[f"features.{i}"]
    assert field.size == (size, size)
    assert field.jump == (jump, jump)
    assert field.start == (start, start)
print(table)
assert size == 212
assert jump == 32

# %% [markdown]
# A unit of VGG-16's last pool sees 212 x 212 pixels, nearly all of a 224 x 224 image; its neighbour
# sees the same square moved by 32 pixels. In `vgg16.png` are the fields of one unit after each of
# the five pools, on a photograph of 427 x 640 pixels: the last sees a good part of the pagoda,
# the first not a window.

# %%
photo = load_sample_image("china.jpg")
assert photo.shape == (427, 640, 3)
on_photo = insight.receptive_field(vgg16, (3, 427, 640))
pools = [i for i, layer in enumerate(vgg16.features) if isinstance(layer, nn.MaxPool2d)]
assert len(pools) == 5
boxes = {}
for n, i in enumerate(pools, 1):
    field = on_photo[f"features.{i}"]  # of its units, the one whose middle lies near (210, 190)
    corners = zip((210, 190), field.start, field.size, field.jump, strict=True)
    unit = [(at - start - size // 2) // jump for at, start, size, jump in corners]
    boxes[f"pool {n}"] = field.box(*unit)
viz.save(
    viz.receptive_field(photo, boxes, title="VGG-16: what one unit sees after each pool"),
    folder / "vgg16.png",
)

# %% [markdown]
# ## Through branches
#
# Side by side, branches see what the widest of them sees, if their centres agree. A residual block
# has both: the shortcut still sees what came in, the main branch 2 * 2 * jump pixels more. So the
# 81 x 81 of ResNet-20's last block are an upper end: along the shortcuts lie fields of all sizes
# down to that of its first layer.

# %%
resnet = insight.receptive_field(models.resnet20(rng=rng), (3, 32, 32))
for name in ("conv1", "layer1.0", "layer1.1", "layer2.0.downsample", "layer2.0", "layer3.2"):
    print(f"resnet20 {name:20} sees {resnet[name].size}, jump {resnet[name].jump}")
assert resnet["layer1.1"].size[0] - resnet["layer1.0"].size[0] == 4
assert resnet["layer3.2"].size == (81, 81)

googlenet = insight.receptive_field(models.googlenet(10, rng=rng), (3, 224, 224))
block = {name: field.size for name, field in googlenet.items() if name.startswith("inception3a")}
for branch in (1, 2, 3, 4):
    print(f"googlenet inception3a.branch{branch} sees {block[f'inception3a.branch{branch}']}")
assert block["inception3a"] == max(block.values())

# %% [markdown]
# The table knows no borders. What does is a matrix for each axis, whether unit o sees pixel p, and
# a layer multiplies it by its own. It finds that SqueezeNet, for all its 224 pixels, sees 223 of
# them: the first convolution (3x3, stride 2, no padding) never reaches the last row and column.

# %%
squeezenet = insight.receptive_field(models.squeezenet1_1(10, rng=rng), (3, 224, 224))
seen = squeezenet["flatten"].pixels()
print(f"SqueezeNet sees {seen.any(axis=1).sum()} of 224 rows")
assert seen.any(axis=1).sum() == seen.any(axis=0).sum() == 223
assert not seen[-1].any()

# %% [markdown]
# ## The effective field
#
# Pixels in the middle of the field reach the unit on many paths, those in a corner on one. The
# gradient of the middle unit with respect to the image measures it: one forward, a gradient of 1 at
# that unit, one backward. Luo et al. (2016) found that it is a Gaussian, and why: with random
# weights, the map of the gradient's mean square is smeared by a 3x3 square in every layer. Read as
# a distribution over places, it is that of a walk whose random steps have variance 2/3 along each
# axis: after L layers its variance is 2/3 L. The mean size of the gradient is the root of that
# Gaussian, which has twice the variance. So
#
#     standard deviation = sqrt(4/3 L),        while the field's side is 2 L + 1
#
# and the deeper a network, the smaller the part of its field that it looks at.


# %%
def deep(depth: int, channels: int, seed: int) -> nn.Sequential:
    """Return ``depth`` convolutions of 3x3, with ReLU."""
    rng = np.random.default_rng(seed)
    layers: list[nn.Module] = []
    for i in range(depth):
        before = channels if i else 1
        layers.append(
            nn.Conv2d(
                before, channels, 3, padding=1, bias=False, init=nn.init.kaiming_normal, rng=rng
            )
        )
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


depths = (5, 10, 20) if options.quick else (5, 10, 20, 40)
networks = 8 if options.quick else 16
pictures, fits = [], []
for depth in depths:
    side = 2 * depth + 1
    total = np.zeros((side, side))
    for seed in range(networks):
        x = np.random.default_rng(seed).standard_normal((4, 1, side, side), dtype=np.float32)
        strength = insight.effective_field(deep(depth, 4, seed), x, rng=rng)
        total += strength / (strength.sum() or 1)  # each network counts alike
    fits.append(insight.fit_gaussian(total))
    pictures.append(total / total.max())
    print(
        f"{depth:2} layers: field {side}, Gaussian of std {np.mean(fits[-1].std):.2f}, expected "
        f"{np.sqrt(4 / 3 * depth):.2f}; it explains {fits[-1].r2:.1%}"
    )
widths = np.array([np.mean(fit.std) for fit in fits])
growth = np.polyfit(np.log(depths), np.log(widths), 1)[0]
print(f"the width grows with the depth to the power of {growth:.2f}")
assert np.abs(widths / np.sqrt(4 / 3 * np.array(depths)) - 1).max() < 0.15
assert 0.4 < growth < 0.6
assert min(fit.r2 for fit in fits) > 0.9

# %% [markdown]
# In `effective.png` each square is a whole theoretical field, scaled to one size: the bright spot
# shrinks as the network grows deeper. In `width.png` half of the field's side is a straight line,
# and the measured width lies on the square root.

# %%
large = max(picture.shape[0] for picture in pictures)
scaled = [insight.resize(picture[None], (large, large))[0] for picture in pictures]
titles = [f"{depth} layers\nfield {2 * depth + 1} x {2 * depth + 1}" for depth in depths]
viz.save(
    viz.images(
        np.stack(scaled), titles, columns=len(depths), title="What the middle unit looks at"
    ),
    folder / "effective.png",
)
line = np.arange(1, max(depths) + 1)
figure = viz.lines(
    {
        "half of the theoretical field, L": np.interp(depths, line, line),
        "two standard deviations, measured": 2 * widths,
        "two standard deviations, 2 sqrt(4/3 L)": 2 * np.sqrt(4 / 3 * np.array(depths)),
    },
    depths, xlabel="layers of 3x3, L", ylabel="pixels from the middle",
    title="The field grows with the depth, what counts of it with its root",
)  # fmt: skip
viz.save(figure, folder / "width.png")

# %% [markdown]
# ## Before and after training
#
# Training changes where a network looks, to what the task asks for. The same eight layers, with the
# same first weights, learn two tasks on images of noise: to give back the pixel in the middle, and
# the mean of the 13 x 13 around it (times 13, so that both answers have a variance of 1). Every
# place of an image is an example. In `training.png` both begin with the same bright spot; for the
# pixel the field contracts to little more than that pixel, for the mean it widens, after the whole
# training by more than a fifth, into a square with steep sides, and a Gaussian describes it less
# well.

# %%
SIDE, AROUND = 25, 6  # pixels of an image, and on each side of the middle
steps = 150 if options.quick else 300


def network() -> nn.Sequential:
    last = nn.Conv2d(8, 1, 3, padding=1, rng=np.random.default_rng(1))
    return nn.Sequential(features=deep(7, 8, seed=1), last=last)


def learn(wide: bool) -> tuple[nn.Sequential, list[float]]:
    """Return a network that has learnt the mean, or the pixel itself, and its squared errors."""
    model, draw, errors = network(), np.random.default_rng(2), []
    optimizer = optim.Adam(model.parameters(), betas=(0.9, 0.99))
    schedule = optim.OneCycleLR(max_lr=0.01, total_steps=steps)
    inner = slice(AROUND, SIDE - AROUND)
    for step in range(steps):
        x = draw.standard_normal((16, 1, SIDE, SIDE), dtype=np.float32)
        target = x[:, 0, inner, inner]
        if wide:
            window = 2 * AROUND + 1
            views = np.lib.stride_tricks.sliding_window_view(x[:, 0], (window, window), (1, 2))
            target = window * views.mean(axis=(3, 4))
        schedule.apply(optimizer, step)
        optimizer.zero_grad()
        y, cache = model.forward(x, training=True)
        error = y[:, 0, inner, inner] - target
        dy = np.zeros_like(y)
        dy[:, 0, inner, inner] = 2 * error / error.size
        model.backward(dy, cache, input_grad=False)
        optimizer.step()
        errors.append(float((error**2).mean()))
    return model, errors


def spread(strength: np.ndarray) -> float:
    """Return the standard deviation along an axis, in pixels, each by its squared gradient."""
    p = np.arange(len(strength)) - len(strength) // 2
    squared = (p[:, None] ** 2 + p**2) / 2
    return float(np.sqrt((strength**2 * squared).sum() / (strength**2).sum()))


# %%
shown = np.random.default_rng(3).standard_normal((32, 1, 17, 17), dtype=np.float32)
looks = {"before training": insight.effective_field(network(), shown, rng=rng)}
for name, wide in (("the pixel learnt", False), ("the mean learnt", True)):
    model, errors = learn(wide)
    looks[name] = insight.effective_field(model, shown, rng=rng)
    print(f"{name}: squared error {np.mean(errors[:5]):.2f} at first, {errors[-1]:.2f} at the end")
    assert errors[-1] < 0.85 * np.mean(errors[:5])
explained = {name: insight.fit_gaussian(strength).r2 for name, strength in looks.items()}
for name, strength in looks.items():
    print(
        f"{name:16} spread {spread(strength):.2f} pixels; a Gaussian explains {explained[name]:.0%}"
    )
viz.save(
    viz.images(
        np.stack([strength / strength.max() for strength in looks.values()]),
        [f"{name}\nspread {spread(strength):.1f} pixels" for name, strength in looks.items()],
        columns=3, title="Where the middle unit looks, in its field of 17 x 17",
    ),
    folder / "training.png",
)  # fmt: skip
first, pixel, mean = map(spread, looks.values())
assert pixel < 0.5 * first
assert mean > (1.0 if options.quick else 1.2) * first
assert explained["the mean learnt"] < explained["before training"]
print(f"pictures: {folder}")

# %% [markdown]
# ## Try it
#
# 1. In the course's network of lesson 7 a 5x5 convolution has 16 channels in and 24 out, 9,600
#    weights. Put two 3x3 in its place: how many channels between them, and how many weights? (24
#    leave 8,640, and 16 leave 5,760.)
# 2. What do three 3x3 convolutions see that have a stride of 2 each? And with a stride of 1, and
#    dilations of 1, 2 and 4? Reckon first, then ask `insight.receptive_field`. (15 pixels both. But
#    the units lie 8 pixels apart with the strides, and 1 with the dilations.)
