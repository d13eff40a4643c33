# %% [markdown]
# # Style transfer: pixels that learn
#
# Gatys, Ecker & Bethge (2016): keep what a photograph shows, and paint it like another picture. The
# network is not trained for it: while it paints, its weights stay, and the pixels are the
# parameters. Their gradient comes from the same backward as ever, carried down to the input.
#
# Run it with `python examples/11_style_transfer.py` (some ten seconds; `--quick` takes half).
# Nothing is downloaded: both photographs come with scikit-learn. The paper's network is VGG-19 with
# weights from ImageNet; where you have VGG-16's,
#
#     python -m reference.exchange vgg16-397923af.pth vgg16.safetensors
#     python examples/11_style_transfer.py --weights vgg16.safetensors
#
# uses them. Otherwise a small network is trained here, in seconds, on these two photographs alone.
# It knows edges, colours and blobs, no objects: it carries over the colours and the grain of the
# style, no brush strokes. The pictures go to `runs/11_style_transfer/`.

# %%
import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

import minicnn
from minicnn import insight, models, nn, optim, viz

parser = argparse.ArgumentParser(description="Style transfer by the engine's own backward.")
parser.add_argument("--weights", help="VGG-16's weights from ImageNet, as safetensors")
parser.add_argument("--quick", action="store_true", help="smaller pictures, fewer steps")
options = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
if options.weights and not Path(options.weights).is_file():
    parser.error(f"there is no file {options.weights}. Leave --weights out to go without.")
folder = Path("runs/11_style_transfer")

# %% [markdown]
# ## Two photographs
#
# Normalised by the mean and the standard deviation of ImageNet's pixels, as VGG expects.

# %%
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
height, width = (64, 96) if options.quick else (128, 192)


def photograph(name: str) -> np.ndarray:
    """Return (1, 3, height, width), normalised."""
    small = Image.fromarray(load_sample_image(name)).resize((width, height))
    pixels = np.asarray(small, np.float32).transpose(2, 0, 1) / 255
    return ((pixels - MEAN) / STD)[None]


def shown(x: np.ndarray) -> np.ndarray:
    """Return (height, width, 3), between 0 and 1."""
    return np.clip(x[0] * STD + MEAN, 0, 1).transpose(1, 2, 0)


content, style = photograph("china.jpg"), photograph("flower.jpg")

# %% [markdown]
# ## A network to look through
#
# The small one learns by a task that needs no labels: which of the two photographs is this patch
# of, and by how many quarter turns was it turned? That makes eight classes, and to tell them apart
# takes colours and the directions of edges.


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
    steps, side, hits = (100 if options.quick else 800), 32, 0.0
    for _ in range(steps):
        classes = rng.integers(0, 8, 32)
        x = np.empty((32, 3, side, side), np.float32)
        for patch, label in zip(x, classes, strict=True):
            photo = (content, style)[label // 4][0]
            i, j = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
            patch[...] = np.rot90(photo[:, i : i + side, j : j + side], label % 4, (1, 2))
        optimizer.zero_grad()
        logits, cache = fast.forward(x, training=True)
        _, loss_cache = loss_function.forward(logits, classes)
        fast.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
        optimizer.step()
        hits = 0.9 * hits + 0.1 * float((logits.argmax(axis=1) == classes).mean())
    print(f"the small network tells {hits:.0%} of the patches; chance is 12.5 %")
    assert hits > 0.25
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
# The **content** is what a layer gives, place by place. The **style** forgets the places: of the
# maps F (c channels, p places) it keeps which channels answer together, the Gram matrix
#
#     G[a, b] = sum_k F[a, k] F[b, k] / p
#
# With the style's own G*, the loss is L = sum_ab (G[a, b] - G*[a, b])^2 / c^2. F[a, k] occurs in
# the row and in the column a of G, which is symmetric, so
#
#     dL/dF[a, k] = 4 / (c^2 p) sum_b (G[a, b] - G*[a, b]) F[b, k]


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
assert abs(slope - claimed) < 1e-6 * abs(slope)

# %% [markdown]
# ## The pixels learn
#
# The image is a `Param`, like any weight, and Adam moves it. Each layer's gradient enters where the
# layer stands (`inject`), and one backward gathers them all on its way down to the pixels. From
# above comes nothing: no score is asked for. So that losses of different scale weigh alike, those
# of style are divided by what they are for the photograph, and that of content, which is 0 there,
# by the mean square of the photograph's features.

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
    assert dx is not None
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
        pixels.data[...] = np.clip(pixels.data, low, high)  # no colour is blacker than black
        kept.append(content_now)
        painted.append(style_now)
    return pixels.data, kept, painted


steps = 60 if options.quick else 200
results = {}
for weight in (1.0, 30.0):
    x, kept, painted = paint(weight, steps)
    results[weight] = x, kept, painted
    print(
        f"style counts {weight:4g} times: of the distance in style {painted[-1]:.1%} is left, the "
        f"content has moved by {kept[-1]:.1%}"
    )

# %% [markdown]
# In `painted.png` the pagoda stands where it stood, in the colours and the grain of the flower; the
# more the style counts, the less is left of the photograph. `losses.png` shows the bargain: the
# style's distance falls from 1, and the content's rises from 0.

# %%
light, heavy = results[1.0], results[30.0]
viz.save(
    viz.images(
        np.stack([shown(x) for x in (content, style, light[0], heavy[0])]),
        ["content", "style", "style counts 1", "style counts 30"],
        columns=2,
    ),
    folder / "painted.png",
)
viz.save(
    viz.lines(
        {
            "style's distance, counting 1": light[2], "content's, counting 1": light[1],
            "style's distance, counting 30": heavy[2], "content's, counting 30": heavy[1],
        },
        xlabel="step", ylabel="distance", title="The bargain between content and style",
    ),
    folder / "losses.png",
)  # fmt: skip
assert light[2][0] > 0.99
assert light[1][0] == 0
assert heavy[2][-1] < light[2][-1] < 0.5
assert heavy[1][-1] > light[1][-1]
print(f"pictures: {folder}")

# %% [markdown]
# ## Try it
#
# 1. What does a layer remember? Let `paint` begin with noise, `nn.Param(noise)` of the shape of
#    `content`, and call `paint(0.0, 200)`. (The pagoda comes back: the content's distance falls
#    from 0.83 to below 0.01. But it comes back through a veil of noise, which two layers of
#    convolutions and a pool do not see.)
# 2. And the style? Begin with noise again, leave out `seen[of_content].inject(...)`, and call
#    `paint(1.0, 200)`. (Petals' colours in streaks and specks, nowhere a flower: 1 % of the style's
#    distance is left, and no place is remembered. That is a texture.)
