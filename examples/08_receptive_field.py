# %% [markdown]
# # VGG and the receptive field: what a unit can see, and where it looks
#
# A unit of a convolutional network sees a square of the image, its receptive field. How large is
# this square, after strides, pools and branches? The layers alone tell. And how important is each
# pixel in it? That is a gradient: the gradient of one unit with respect to the image.
#
# Run it with `python examples/08_receptive_field.py`. It takes about ten seconds; `--quick` takes
# half. The pictures go to `runs/08_receptive_field/`. Nothing is downloaded: the photograph comes
# with scikit-learn.

# %%
import argparse
from pathlib import Path

import course
import numpy as np
from sklearn.datasets import load_sample_image

from minicnn import insight, models, nn, optim, viz

parser = argparse.ArgumentParser(description="Receptive fields, theoretical and effective.")
parser.add_argument("--quick", action="store_true", help="fewer networks, less training")
options = course.arguments(parser)
folder = Path("runs/08_receptive_field")
rng = np.random.default_rng(0)

# %% [markdown]
# ## Two 3x3 convolutions against one 5x5
#
# This is the idea of VGG. Two 3x3 convolutions in a row see 5x5 pixels, as one 5x5 does. They have
# 18 weights for each pair of channels in place of 25. That is 28 % fewer, and there is one more
# ReLU. Three 3x3 convolutions see 7x7 pixels with 27 weights in place of 49, 45 % fewer.

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
    equal = seen[0] == seen[1] == (large, large)
    course.claim(f"{len(small)} of 3x3 see what one {large}x{large} sees", equal, seen)
    counts = weights(several) // CHANNELS**2, weights(one) // CHANNELS**2
    expected = {5: (18, 25), 7: (27, 49)}[large]
    course.claim(f"they have {expected} weights a pair", counts == expected, counts)
    less = {5: 28, 7: 45}[large]
    course.claim(f"that is {less} % fewer", round(100 * fewer) == less, f"{fewer:.0%}")

# %% [markdown]
# ## The field of every layer
#
# Let a unit see $f$ pixels, and let neighbouring units be $j$ pixels apart (the jump). Put a window
# of $k$ taps with stride $s$ on top. It sees $k - 1$ jumps more, and it multiplies the jump by the
# stride:
#
# $$f' = f + (k - 1)\,j \qquad j' = s\,j$$
#
# With $p$ pixels of padding, the first unit begins $p\,j$ pixels earlier. That is all.

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
    by_hand = ((size, size), (jump, jump), (start, start))
    same = (field.size, field.jump, field.start) == by_hand
    course.claim(f"layer {i} has the field of the formula", same, (field, by_hand))
print(table)
course.claim("the last pool sees 212 pixels, 32 apart", (size, jump) == (212, 32), (size, jump))

# %% [markdown]
# A unit of VGG-16's last pool sees 212 x 212 pixels, nearly all of a 224 x 224 image. Its neighbour
# sees the same square, moved by 32 pixels. `vgg16.png` shows the fields of one unit after each of
# the five pools, on a photograph of 427 x 640 pixels. The field of the last pool holds a good part
# of the pagoda. The field of the first is smaller than a window of the pagoda.

# %%
photo = load_sample_image("china.jpg")
on_photo = insight.receptive_field(vgg16, (3, 427, 640))
pools = [i for i, layer in enumerate(vgg16.features) if isinstance(layer, nn.MaxPool2d)]
boxes = {}
for n, i in enumerate(pools, 1):
    field = on_photo[f"features.{i}"]  # of its units, the one whose middle lies near (210, 190)
    corners = zip((210, 190), field.start, field.size, field.jump, strict=True)
    unit = [(at - start - size // 2) // jump for at, start, size, jump in corners]
    boxes[f"pool {n}"] = field.box(*unit)
picture = viz.receptive_field(photo, boxes, title="VGG-16: what one unit sees after each pool")
course.show(picture, folder / "vgg16.png")

# %% [markdown]
# ## Through branches
#
# Branches side by side see what the widest of them sees, if their centres agree. A residual block
# has two branches. The shortcut sees only what came in. The main branch sees $2 \cdot 2$ jumps
# more. So the 81 x 81 pixels of ResNet-20's last block are an upper limit. Along the shortcuts
# there are fields of all sizes, down to that of the first layer.

# %%
resnet = insight.receptive_field(models.resnet20(rng=rng), (3, 32, 32))
for name in ("conv1", "layer1.0", "layer1.1", "layer2.0.downsample", "layer2.0", "layer3.2"):
    print(f"resnet20 {name:20} sees {resnet[name].size}, jump {resnet[name].jump}")
more = resnet["layer1.1"].size[0] - resnet["layer1.0"].size[0]
course.claim("a block of the first stage sees 4 pixels more", more == 4, more)
last = resnet["layer3.2"].size
course.claim("the last block sees 81 x 81 pixels", last == (81, 81), last)

googlenet = insight.receptive_field(models.googlenet(10, rng=rng), (3, 224, 224))
block = {name: field.size for name, field in googlenet.items() if name.startswith("inception3a")}
for branch in (1, 2, 3, 4):
    print(f"googlenet inception3a.branch{branch} sees {block[f'inception3a.branch{branch}']}")
widest = max(block.values())
course.claim("the block sees what its widest branch sees", block["inception3a"] == widest, block)

# %% [markdown]
# The table ignores the borders of the image. There is a more exact way: one matrix for each axis,
# which says whether unit $o$ sees pixel $p$. Each layer multiplies this matrix by its own. In this
# way you find a surprise: SqueezeNet takes images of 224 pixels and sees 223 of them. Its first
# convolution (3x3, stride 2, no padding) never reaches the last row and the last column.

# %%
squeezenet = insight.receptive_field(models.squeezenet1_1(10, rng=rng), (3, 224, 224))
seen = squeezenet["flatten"].pixels()
print(f"SqueezeNet sees {seen.any(axis=1).sum()} of 224 rows")
rows, columns = seen.any(axis=1).sum(), seen.any(axis=0).sum()
course.claim("it sees 223 rows and columns", (rows, columns) == (223, 223), (rows, columns))
course.claim("it does not see the last row", not seen[-1].any())

# %% [markdown]
# ## The effective field
#
# A pixel in the middle of the field reaches the unit on many paths, a pixel in a corner on one. The
# gradient of the middle unit with respect to the image measures this. It takes one forward, a
# gradient of 1 at that unit, and one backward. Luo et al. (2016) found that the result is a
# Gaussian.
#
# Here is the reason. With random weights, every layer blurs the map of the gradient's mean square
# by a 3x3 square. Read this map as the distribution of a random walk. Each of its steps has a
# variance of $2/3$ along each axis, so after $L$ layers the variance is $\frac{2}{3} L$. The mean
# size of the gradient is the root of this Gaussian, and a root has twice the variance. So
#
# $$\text{standard deviation} = \sqrt{\tfrac{4}{3} L} \qquad \text{side of the field} = 2L + 1$$
#
# The deeper a network is, the smaller is the part of its field that it looks at.


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
worst = np.abs(widths / np.sqrt(4 / 3 * np.array(depths)) - 1).max()
course.claim("the widths are within 15 % of theory", worst < 0.15, f"{worst:.0%}")
course.claim("the width grows with the square root", 0.4 < growth < 0.6, f"a power of {growth:.2f}")
least = min(fit.r2 for fit in fits)
course.claim("a Gaussian explains over 90 %", least > 0.9, f"{least:.1%}")

# %% [markdown]
# In `effective.png`, each square is a whole theoretical field, scaled to one size. The bright spot
# becomes smaller as the network becomes deeper. In `width.png`, half of the side of the field is a
# straight line, and the measured width lies on the square root.

# %%
large = max(picture.shape[0] for picture in pictures)
scaled = [insight.resize(picture[None], (large, large))[0] for picture in pictures]
titles = [f"{depth} layers\nfield {2 * depth + 1} x {2 * depth + 1}" for depth in depths]
picture = viz.images(
    np.stack(scaled), titles, columns=len(depths), title="Where the middle unit looks"
)
course.show(picture, folder / "effective.png")
line = np.arange(1, max(depths) + 1)
figure = viz.lines(
    {
        "half of the theoretical field, L": np.interp(depths, line, line),
        "two standard deviations, measured": 2 * widths,
        "two standard deviations, 2 sqrt(4/3 L)": 2 * np.sqrt(4 / 3 * np.array(depths)),
    },
    depths, xlabel="layers of 3x3, L", ylabel="pixels from the middle",
    title="The field grows linearly with depth, its effective part with the square root",
)  # fmt: skip
course.show(figure, folder / "width.png")

# %% [markdown]
# ## Before and after training
#
# Training changes where a network looks. Eight layers with the same first weights learn two tasks
# on images of noise. The first task: give back the pixel in the middle. The second task: give the
# mean of the 13 x 13 pixels around it (times 13, so that both answers have a variance of 1). Every
# position of an image is an example.
#
# In `training.png` both begin with the same bright spot. For the pixel, the field contracts to
# little more than that pixel. For the mean, it becomes wider, by more than a fifth after the whole
# training. It becomes a square with steep sides, and a Gaussian fits it less well.

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
    left = errors[-1] / np.mean(errors[:5])
    course.claim(f"{name} reduces the error below 85 %", left < 0.85, f"{left:.0%}")
explained = {name: insight.fit_gaussian(strength).r2 for name, strength in looks.items()}
for name, strength in looks.items():
    print(
        f"{name:16} spread {spread(strength):.2f} pixels; a Gaussian explains {explained[name]:.0%}"
    )
picture = viz.images(
    np.stack([strength / strength.max() for strength in looks.values()]),
    [f"{name}\nspread {spread(strength):.1f} pixels" for name, strength in looks.items()],
    columns=3, title="Where the middle unit looks, in its field of 17 x 17",
)  # fmt: skip
course.show(picture, folder / "training.png")
first, pixel, mean = map(spread, looks.values())
course.claim(
    "for the pixel the field contracts", pixel < 0.5 * first, f"{pixel:.2f} of {first:.2f}"
)
wider = mean > (0.95 if options.quick else 1.2) * first
course.claim("for the mean it widens by a fifth", wider, f"{mean:.2f} of {first:.2f}")
fit, before = explained["the mean learnt"], explained["before training"]
course.claim("a Gaussian fits less well after it", fit < before, f"{fit:.0%} and {before:.0%}")
print(f"pictures: {folder}")

# %% [markdown]
# ## Exercises
#
# `python -m examples.solutions 8.1` shows the solution of the first exercise and runs it.
#
# 1. In the network of lesson 7, a 5x5 convolution has 16 channels in and 24 out: 9,600 weights.
#    Replace it by two 3x3 convolutions. How many channels can stand between them, so that weights
#    are saved? Compute the weights for 24 and for 16 channels.
# 2. Take three 3x3 convolutions with a stride of 2 each. Take another three with a stride of 1 and
#    dilations of 1, 2 and 4. What does each row see? Compute first, then ask
#    `insight.receptive_field`. What is the difference between the two?
