# %% [markdown]
# # Style transfer: pixels that learn
#
# Gatys, Ecker & Bethge (2016) keep the content of a photograph and paint it in the style of another
# picture. No network is trained for this. While it paints, the weights stay as they are, and the
# pixels are the parameters. Their gradient comes from the usual backward, carried down to the
# input.
#
# Run it with `python examples/11_style_transfer.py`. It takes about half a minute; `--quick` paints
# a small picture in a few seconds. Nothing is downloaded: both photographs come with scikit-learn.
# The paper uses VGG-19 with weights from ImageNet. If you have the weights of VGG-16, these
# commands use them:
#
#     python -m reference.exchange vgg16-397923af.pth vgg16.safetensors
#     python examples/11_style_transfer.py --weights vgg16.safetensors
#
# Otherwise a small network is trained here, in seconds, on these two photographs alone. It knows
# edges, colours and blobs, and no objects. It carries over the colours and the grain of the style,
# and no brush strokes. The pictures go to `runs/11_style_transfer/`.

# %%
import argparse
from pathlib import Path

import course
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

import minicnn
from minicnn import insight, models, nn, optim, viz

parser = argparse.ArgumentParser(description="Style transfer by the engine's own backward.")
parser.add_argument("--weights", help="VGG-16's weights from ImageNet, as safetensors")
parser.add_argument("--quick", action="store_true", help="smaller pictures, fewer steps")
options = course.arguments(parser)
if options.weights and not Path(options.weights).is_file():
    parser.error(f"there is no file {options.weights}. Leave --weights out to go without.")
folder = Path("runs/11_style_transfer")

# %% [markdown]
# ## Two photographs
#
# They are normalised by the mean and the standard deviation of ImageNet's pixels, as VGG expects.
# Around each we put a mirrored margin, and cut it off when the picture is shown. Without it, the
# zeros that pad a convolution would paint a frame.

# %%
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
MARGIN = 12
height, width = (64, 96) if options.quick else (256, 384)


def photograph(name: str, height: int, width: int) -> np.ndarray:
    """Return (1, 3, height, width), normalised, and mirrored beyond the edges."""
    small = Image.fromarray(load_sample_image(name)).resize((width, height))
    pixels = (np.asarray(small, np.float32).transpose(2, 0, 1) / 255 - MEAN) / STD
    sides = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
    return np.pad(pixels, sides, mode="reflect")[None]


def shown(x: np.ndarray) -> np.ndarray:
    """Return (height, width, 3), between 0 and 1."""
    inside = x[0, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
    return np.clip(inside * STD + MEAN, 0, 1).transpose(1, 2, 0)


content, style = (photograph(name, height, width) for name in ("china.jpg", "flower.jpg"))

# %% [markdown]
# ## A network to look through
#
# The small network learns a task without labels. It gets patches of both photographs, turned by 0,
# 90, 180 or 270 degrees. Which photograph is a patch from, and how was it turned? That makes eight
# classes. To tell them apart, the network needs colours and the directions of edges. A few steps of
# training are enough.


# %%
def small_network() -> nn.Sequential:
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        conv1=nn.Conv2d(3, 16, 3, padding=1, rng=rng), relu1=nn.ReLU(), pool1=nn.AvgPool2d(2),
        conv2=nn.Conv2d(16, 32, 3, padding=1, rng=rng), relu2=nn.ReLU(), pool2=nn.AvgPool2d(2),
        conv3=nn.Conv2d(32, 48, 3, padding=1, rng=rng), relu3=nn.ReLU(),
    )  # fmt: skip
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 8, rng=rng))
    whole = nn.Sequential(model, head)
    fast = minicnn.fuse(whole)  # the same parameters, fewer passes over the memory
    loss_function, optimizer = nn.CrossEntropyLoss(), optim.Adam(whole.parameters(), lr=3e-3)
    photos = [photograph(name, 128, 192)[0] for name in ("china.jpg", "flower.jpg")]
    side, hits = 32, 0.0
    for _ in range(150):
        classes = rng.integers(0, 8, 32)
        x = np.empty((32, 3, side, side), np.float32)
        for patch, label in zip(x, classes, strict=True):
            photo = photos[label // 4]
            i, j = (rng.integers(0, size - side + 1) for size in photo.shape[1:])
            patch[...] = np.rot90(photo[:, i : i + side, j : j + side], label % 4, (1, 2))
        optimizer.zero_grad()
        logits, cache = fast.forward(x, training=True)
        _, loss_cache = loss_function.forward(logits, classes)
        fast.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
        optimizer.step()
        hits = 0.9 * hits + 0.1 * float((logits.argmax(axis=1) == classes).mean())
    print(f"the small network tells {hits:.0%} of the patches; chance is 12.5 %")
    course.claim("it tells over a quarter of the patches", hits > 0.25, f"{hits:.0%}")
    return model


if options.weights:
    network: nn.Module = models.vgg16(weights=options.weights).features
    of_style, of_content = ("3", "8", "15", "22"), "15"  # the last ReLU before each pool
else:
    network = small_network()
    of_style, of_content = ("relu1", "relu2", "relu3"), "relu2"
network.freeze()

# %% [markdown]
# ## Content and style
#
# The **content** is the output of a layer, position by position. The **style** ignores the
# positions. Of the maps $F$ ($c$ channels, $p$ positions) it keeps which channels answer together.
# This is the Gram matrix:
#
# $$G_{ab} = \frac{1}{p} \sum_k F_{ak} F_{bk}$$
#
# Let $G^*$ be the matrix of the style. The loss is the mean squared difference:
#
# $$L = \frac{1}{c^2} \sum_{ab} (G_{ab} - G^*_{ab})^2$$
#
# $F_{ak}$ occurs in the row $a$ and in the column $a$ of $G$, and $G$ is symmetric. So
#
# $$\frac{\partial L}{\partial F_{ak}} = \frac{4}{c^2 p} \sum_b (G_{ab} - G^*_{ab}) \, F_{bk}$$


# %%
def gram(y: np.ndarray) -> np.ndarray:
    maps = y[0].reshape(y.shape[1], -1)
    return maps @ maps.T / maps.shape[1]


def style_loss(y: np.ndarray, wanted: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss and its gradient with respect to y (1, c, h, w)."""
    maps = y[0].reshape(y.shape[1], -1)
    c, p = maps.shape
    apart = gram(y) - wanted
    return float((apart**2).sum()) / c**2, (4 / (c**2 * p) * apart @ maps).reshape(y.shape)


def content_loss(y: np.ndarray, wanted: np.ndarray) -> tuple[float, np.ndarray]:
    apart = y - wanted
    return float((apart**2).mean()), 2 / apart.size * apart


# %% [markdown]
# Is the derivation right? Measure the slope along a random direction.

# %%
draw = np.random.default_rng(1)
y, wanted, direction = (draw.standard_normal(s) for s in ((1, 4, 5, 6), (4, 4), (1, 4, 5, 6)))
wanted = wanted + wanted.T
_, gradient = style_loss(y, wanted)
step = 1e-5
plus, minus = (style_loss(y + s * direction, wanted)[0] for s in (step, -step))
slope, claimed = (plus - minus) / (2 * step), float((gradient * direction).sum())
print(f"slope {slope:.8f}, the gradient says {claimed:.8f}")
agree = abs(slope - claimed) < 1e-6 * abs(slope)
course.claim("the gradient is the slope", agree, f"{claimed:.8f} and {slope:.8f}")

# %% [markdown]
# ## The pixels learn
#
# The image is a `Param`, like any weight, and Adam changes it. The gradient of each loss enters at
# its layer (`inject`). One backward adds them all on its way down to the pixels. Nothing comes from
# the end of the network, because no score is asked for.
#
# The losses have different scales. So each style loss is divided by its value for the photograph.
# The content loss is 0 there, so it is divided by the mean square of the photograph's features.

# %%
layers = sorted({*of_style, of_content})


def outputs(x: np.ndarray) -> dict[str, np.ndarray]:
    with insight.watching(network, *layers) as seen:
        network(x)
    return {layer: seen[layer].y for layer in layers}


at_content, at_style = outputs(content), outputs(style)
grams = {layer: gram(at_style[layer]) for layer in of_style}
first = {layer: style_loss(at_content[layer], grams[layer])[0] for layer in of_style}
scale = float((at_content[of_content] ** 2).mean())


def losses_and_gradient(x: np.ndarray, weight: float) -> tuple[float, float, np.ndarray]:
    """Return the losses of content and style, and the gradient of ``content + weight * style``."""
    with insight.watching(network, *layers) as seen:
        top, cache = network.forward(x, training=False)
        kept, dy = content_loss(seen[of_content].y, at_content[of_content])
        seen[of_content].inject(dy / scale)
        painted = 0.0
        for layer in of_style:
            loss, dy = style_loss(seen[layer].y, grams[layer])
            painted += loss / first[layer] / len(of_style)
            seen[layer].inject(weight / first[layer] / len(of_style) * dy)
        dx = network.backward(np.zeros_like(top), cache)
    return kept / scale, painted, dx


def paint(weight: float, steps: int) -> tuple[np.ndarray, list[float], list[float]]:
    pixels = nn.Param(content.copy())
    optimizer = optim.Adam([pixels], lr=0.05)
    kept, painted = [], []
    low, high = (0 - MEAN) / STD, (1 - MEAN) / STD
    for _ in range(steps):
        content_now, style_now, dx = losses_and_gradient(pixels.data, weight)
        pixels.grad = dx
        optimizer.step()
        pixels.data[...] = np.clip(pixels.data, low, high)  # colours stay between black and white
        kept.append(content_now)
        painted.append(style_now)
    return pixels.data, kept, painted


steps = 60
results = {}
for weight in (3.0, 30.0):
    x, kept, painted = paint(weight, steps)
    results[weight] = x, kept, painted
    print(
        f"style weight {weight:4g}: {painted[-1]:.1%} of the distance in style is left, and the "
        f"content has moved by {kept[-1]:.1%}"
    )

# %% [markdown]
# In `light.png` and `heavy.png` the pagoda stands where it stood, in the colours and the grain of
# the flower. The larger the weight of the style is, the less is left of the photograph.
# `painted.png` compares them with both photographs. `losses.png` shows the compromise: the distance
# in style falls from 1, and the distance in content rises from 0.

# %%
light, heavy = results[3.0], results[30.0]
for name, result in (("light", light), ("heavy", heavy)):
    picture = viz.images(shown(result[0])[None], side=9)
    course.show(picture, folder / f"{name}.png")
panels = {
    "content": content, "style": style, "style weight 3": light[0], "style weight 30": heavy[0],
}  # fmt: skip
picture = viz.images(np.stack([shown(x) for x in panels.values()]), list(panels), columns=2, side=4)
course.show(picture, folder / "painted.png")
picture = viz.lines(
    {
        "style, weight 3": light[2], "content, weight 3": light[1],
        "style, weight 30": heavy[2], "content, weight 30": heavy[1],
    },
    xlabel="step", ylabel="distance", title="The compromise between content and style",
)  # fmt: skip
course.show(picture, folder / "losses.png")
begins = light[2][0] > 0.99 and light[1][0] == 0
course.claim("the distances begin at 1 and 0", begins, (light[2][0], light[1][0]))
ends = heavy[2][-1], light[2][-1]
course.claim("a heavy style comes closer to the style", ends[0] < ends[1] < 0.5, ends)
moved = heavy[1][-1], light[1][-1]
course.claim("a heavy style moves the content further", moved[0] > moved[1], moved)
print(f"pictures: {folder}")

# %% [markdown]
# ## Exercises
#
# `python -m examples.solutions 11.1` shows the solution of the first exercise and runs it.
#
# 1. What does a layer remember? Let `paint` begin with noise, `nn.Param(noise)` of the shape of
#    `content`, and call `paint(0.0, 200)`. What comes back, and what does not?
# 2. What is a style without a content? Begin with noise again, leave out
#    `seen[of_content].inject(...)`, and call `paint(1.0, 200)`. How much of the distance in style
#    is left?
